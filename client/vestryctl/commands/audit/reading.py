"""`vestryctl audit list`: the records, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp

from vestry.durations import parse_duration
from vestry.v1 import audit_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.audit.records import OUTCOMES, outcome_number, row
from vestryctl.options import Command, Utf8, Whole
from vestryctl.wire import as_value

_PAGE_SIZE = 1000


class Moment(click.ParamType[Timestamp]):
    """A point in time: RFC 3339, in this machine's time zone when it names none; or how long ago, such as 1h30m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """Return the point in time."""
        if isinstance(value, Timestamp):
            return value
        try:
            time = self._parse(value)
            moment = Timestamp()
            moment.FromDatetime(time.astimezone(UTC))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2026-01-31T12:00, or how long ago, such as 90m.", param, ctx)
        return moment

    @staticmethod
    def _parse(value: str) -> datetime:
        try:
            return datetime.now(UTC) - parse_duration(value)
        except ValueError:
            return datetime.fromisoformat(value)


@click.command(
    "list",
    cls=Command,
    examples=[
        "vestryctl audit list",
        "vestryctl audit list --since 24h --action config.",
        "vestryctl audit list --resource namespaces/billing/ --actor uid:1000 --limit 500 -o json",
    ],
)
@click.option("--actor", type=Utf8(), default="", metavar="NAME", help="Only what NAME did.")
@click.option("--action", type=Utf8(), default="", metavar="PREFIX", help="Only actions that begin with PREFIX.")
@click.option("--resource", type=Utf8(), default="", metavar="PREFIX", help="Only resources that begin with PREFIX.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only what ended like this.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only what was recorded at TIME or later.")
@click.option("--until", type=Moment(), metavar="TIME", help="Only what was recorded before TIME.")
@click.option("--limit", type=Whole(), default=20, show_default=True, metavar="N", help="How many at most.")
@pass_app
def list_(
    app: App,
    actor: str,
    action: str,
    resource: str,
    outcome: str | None,
    since: Timestamp | None,
    until: Timestamp | None,
    limit: int,
) -> None:
    """List the records, newest first.

    TIME is a point in time, such as 2026-01-31T12:00, or how long ago, such as 90m or 7d.
    """
    request = audit_pb2.ListAuditRecordsRequest(
        page_size=min(limit, _PAGE_SIZE),
        actor=actor,
        action_prefix=action,
        resource_prefix=resource,
        outcome=outcome_number(outcome),
        since_time=since,
        until_time=until,
    )
    found = list(islice(records(app, request), limit))
    columns = ("SEQUENCE", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "FACTS")
    app.out.show(
        {"records": [as_value(each) for each in found]},
        lambda: app.out.table(columns, map(row, found), fold=("RESOURCE", "FACTS", "ACTOR")),
    )


def records(app: App, request: audit_pb2.ListAuditRecordsRequest) -> Iterator[audit_pb2.AuditRecord]:
    """Yield the records that meet a request, over as many pages as it takes."""
    for page in app.daemon.pages(app.daemon.audit.ListAuditRecords, request):
        yield from page.records
