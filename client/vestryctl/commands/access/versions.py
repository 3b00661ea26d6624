"""`vestryctl access history`, `diff` and `rollback`: what was in force."""

from __future__ import annotations

from collections.abc import Iterator

import click

from vestry.v1 import access_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.access.policy import Policy
from vestryctl.layered import PAGE_SIZE, roll_back, show_diff, show_history
from vestryctl.options import Command, Whole, dry_run_option, message_option, yes_option
from vestryctl.wire import json_value


@click.command(cls=Command, examples=["vestryctl access history", "vestryctl access history --limit 100 -o json"])
@click.option("--limit", type=Whole(), default=20, show_default=True, metavar="N", help="How many at most.")
@pass_app
def history(app: App, limit: int) -> None:
    """List the versions, newest first."""
    show_history(app, _versions(app, limit), limit)


@click.command(
    cls=Command,
    examples=[
        "vestryctl access diff 12",
        "vestryctl access diff 12 14 --pointers",
        "vestryctl access diff 12 -o json  # RFC 6902",
    ],
)
@click.argument("from_version", type=Whole(), metavar="FROM")
@click.argument("to_version", type=Whole(), metavar="[TO]", default=0)
@click.option("--pointers", is_flag=True, help="One line for each value, by its JSON Pointer.")
@click.option("--exit-code", "tells", is_flag=True, help="Exit with 1 when there are differences, as git diff does.")
@click.pass_context
@pass_app
def diff(app: App, context: click.Context, from_version: int, to_version: int, *, pointers: bool, tells: bool) -> None:
    """Show what changed between two versions.

    The policies in force at FROM and at TO are compared; without TO, the current one. The exit code is 0 whether there
    are differences or not, unless --exit-code is given.
    """
    request = access_pb2.DiffPolicyVersionsRequest(from_version=from_version, to_version=to_version)
    answer = app.daemon.call(app.daemon.access.DiffPolicyVersions, request)
    policy = Policy(app)
    show_diff(app, policy.name, answer, lambda each: policy.read(each).value, pointers=pointers)
    if tells and json_value(answer.patch):
        context.exit(1)


@click.command(
    cls=Command, examples=["vestryctl access rollback 12", "vestryctl access rollback 12 --yes -m 'bob left'"]
)
@click.argument("version", type=Whole())
@message_option
@dry_run_option
@yes_option
@pass_app
def rollback(app: App, version: int, message: str, *, dry_run: bool, yes: bool) -> None:
    """Go back to the layers of an earlier version.

    They become a new version, which stays in force until a file is edited. Shows what would change and asks first; the
    rollback is refused, with exit code 4, if another change comes in between.
    """
    roll_back(app, Policy(app), version, message=message, dry_run=dry_run, yes=yes)


def _versions(app: App, limit: int) -> Iterator[access_pb2.PolicyVersion]:
    request = access_pb2.ListPolicyVersionsRequest(page_size=min(limit, PAGE_SIZE))
    for page in app.daemon.pages(app.daemon.access.ListPolicyVersions, request):
        yield from page.versions
