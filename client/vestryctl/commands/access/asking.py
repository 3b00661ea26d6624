"""`vestryctl access check` and `explain`: may somebody do something, and why."""

from __future__ import annotations

import click

from vestry.v1 import access_pb2
from vestryctl.app import App, pass_app
from vestryctl.failures import ExitCode
from vestryctl.options import Command, Utf8
from vestryctl.wire import as_value

_action_argument = click.argument("action", type=Utf8())
_resource_argument = click.argument("resource", type=Utf8())


@click.command(
    cls=Command,
    examples=[
        "vestryctl access check config.update namespaces/billing/config",
        "if vestryctl access check admin.backup daemon >/dev/null; then vestryctl backup create today.db; fi",
    ],
)
@_action_argument
@_resource_argument
@click.pass_context
@pass_app
def check(app: App, context: click.Context, action: str, resource: str) -> None:
    """Tell whether you may do something.

    The exit code is 0 when it is allowed, and 1 when it is denied.
    """
    question = access_pb2.AccessQuestion(action=action, resource=resource)
    request = access_pb2.CheckAccessRequest(questions=[question])
    answer = app.daemon.call(app.daemon.access.CheckAccess, request)
    is_allowed = answer.allowed[0]
    app.out.show({"allowed": is_allowed}, lambda: app.out.line("allowed" if is_allowed else "denied"))
    if not is_allowed:
        context.exit(ExitCode.REFUSED)


@click.command(
    cls=Command,
    examples=[
        "vestryctl access explain secrets.access namespaces/billing/secrets/db-password --as user:bob",
        "vestryctl access explain config.update namespaces/billing/config --as user:bob --group operators",
        "vestryctl access explain admin.backup daemon --as spiffe://example.org/backup --from 10.0.0.7",
    ],
)
@_action_argument
@_resource_argument
@click.option(
    "--as", "identity", type=Utf8(), default="", metavar="IDENTITY", help="About whom, e.g. user:bob. [default: you]"
)
@click.option(
    "--group",
    "groups",
    type=Utf8(),
    multiple=True,
    metavar="NAME",
    help="A group that the credential of --as would assert; may be repeated.",
)
@click.option(
    "--from",
    "origin",
    type=Utf8(),
    default="",
    metavar="ADDRESS",
    help="Where the call would come from. [default: the unix socket]",
)
@pass_app
def explain(app: App, action: str, resource: str, identity: str, groups: tuple[str, ...], origin: str) -> None:
    """Tell why somebody may do something, or may not.

    Names the rule that decides or, when none allows it, the one that comes nearest. You need the right to access.explain
    for it.
    """
    request = access_pb2.ExplainAccessRequest(
        identity=identity, groups=groups, action=action, resource=resource, address=origin
    )
    answer = app.daemon.call(app.daemon.access.ExplainAccess, request)
    app.out.show(as_value(answer), lambda: app.out.line(answer.explanation))
