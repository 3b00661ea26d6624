"""`vestryctl audit tail`: every record, as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from vestry.backoff import ReconnectPolicy
from vestry.errors import RemoteError
from vestry.v1 import audit_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.audit.records import line
from vestryctl.following import Patience
from vestryctl.options import Command, Whole
from vestryctl.wire import as_value

_BEFORE = 10  # how many records there are already are shown first


@click.command(
    cls=Command,
    examples=[
        "vestryctl audit tail",
        "vestryctl audit tail --after 4711",
        "vestryctl audit tail -o json | jq -r 'select(.outcome != \"allowed\") | .action'",
    ],
)
@click.option("--after", type=Whole(), metavar="N", help=f"Begin after record N. [default: the last {_BEFORE} records]")
@pass_app
def tail(app: App, after: int | None) -> None:
    """Print every record as it comes.

    Ctrl-C ends it, with exit code 130. When the daemon goes away, it waits and goes on where it was: no record is left out.
    """
    if after is None:
        newest = app.daemon.call(app.daemon.audit.GetCheckpoint, audit_pb2.GetCheckpointRequest()).sequence
        after = max(0, newest - _BEFORE)
    for record in _records(app, after):
        _print(app, record)


def _print(app: App, record: audit_pb2.AuditRecord) -> None:
    app.out.show_event(as_value(record), lambda: app.out.line(line(record)))


def _records(app: App, after: int) -> Iterator[audit_pb2.AuditRecord]:
    """Yield the records after a sequence, over as many connections as it takes once the first one has been made."""
    policy = ReconnectPolicy()
    patience = Patience()
    failures = 0
    while True:
        try:
            request = audit_pb2.WatchAuditRequest(after_sequence=after)
            for message in app.daemon.stream(app.daemon.audit.WatchAudit, request):
                if failures:
                    app.err.line("vestryctl: vestryd is back")
                failures = 0
                patience.heard()
                after = message.sequence or after
                if message.HasField("record"):
                    yield message.record
        except RemoteError as error:
            if not patience.outlasts(error):
                raise
        if not failures:
            app.err.line(f"vestryctl: lost vestryd at {app.daemon.address}, waiting for it to come back")
        failures += 1
        time.sleep(policy.delay_seconds(failures))
