"""`vestryctl status`: the daemon at a glance."""

from __future__ import annotations

import click

from vestry.v1 import admin_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.failures import ExitCode
from vestryctl.options import Command
from vestryctl.wire import as_value


@click.command(cls=Command, examples=["vestryctl status", "vestryctl status -o json | jq .revision.revision"])
@click.pass_context
@pass_app
def status(app: App, context: click.Context) -> None:
    """Show the daemon at a glance.

    The exit code is 0 when nothing is wrong, 1 when there are problems, and 3 when the daemon can't be reached.
    """
    answer = app.daemon.call(app.daemon.admin.GetStatus, admin_pb2.GetStatusRequest())
    app.out.show(as_value(answer), lambda: _print(app, answer))
    if answer.problems:
        context.exit(ExitCode.REFUSED)


def _print(app: App, answer: admin_pb2.GetStatusResponse) -> None:
    disk = f", {text.size(answer.store_bytes)}" if answer.store_bytes else ""
    app.out.facts(
        (
            ("vestryd", f"{answer.version}, process {answer.process_id}"),
            ("environment", answer.environment),
            ("up", f"{text.since(answer.start_time)}, since {text.local_time(answer.start_time)}"),
            ("listeners", ", ".join(answer.listeners) or text.NOTHING),
            ("store", f"{answer.store}{disk}, at revision {answer.revision.revision}"),
            ("namespaces", str(answer.namespaces)),
            ("secrets", _secrets(answer)),
            ("watchers", str(answer.watchers)),
            ("problems", str(len(answer.problems)) if answer.problems else "none"),
        )
    )
    for problem in answer.problems:
        app.out.line()
        app.out.line(f"{problem.component}, for {text.since(problem.since_time)}", "bold red")
        app.out.line(f"  {problem.message}")
    if answer.methods:
        app.out.line()
        app.out.table(("METHOD", "CALLS", "FAILED", "OPEN", "MEAN"), (_figures(each) for each in answer.methods))


def _secrets(answer: admin_pb2.GetStatusResponse) -> str:
    if not answer.HasField("secrets"):
        return "sealed"
    found = answer.secrets
    states = (("due", found.due), ("overdue", found.overdue), ("damaged", found.damaged))
    notes = ", ".join(f"{count} {state}" for state, count in states if count)
    return f"{found.secrets}, with {found.versions} versions" + (f"; {notes}" if notes else "")


def _figures(method: admin_pb2.MethodFigures) -> tuple[str, ...]:
    name = method.method.rpartition(".")[2]
    mean = text.span(method.mean_seconds) if method.mean_seconds >= 1 else f"{method.mean_seconds * 1000:.1f} ms"
    return (name, str(method.calls), str(method.failures), str(method.in_flight), mean)
