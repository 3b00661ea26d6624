"""`vestryctl access show`, `validate` and `reload`: the policy, and the files that it comes from."""

from __future__ import annotations

import click

from vestry.v1 import access_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.commands.access.policy import Policy
from vestryctl.documents import canonical, read_document
from vestryctl.failures import ExitCode, SourceInvalid
from vestryctl.options import Command, Whole, layer_option
from vestryctl.output import warning
from vestryctl.violations import print_violations
from vestryctl.wire import as_value, json_value, layer_name, layer_number


@click.command(
    cls=Command,
    examples=[
        "vestryctl access show",
        "vestryctl access show --version 12",
        "vestryctl access show -o json | jq .document",
    ],
)
@click.option("--version", type=Whole(), metavar="N", default=0, help="Show this version. [default: current]")
@pass_app
def show(app: App, version: int) -> None:
    """Show the policy, and its layers.

    A layer drifts when what is in force is not what its file says: after a rollback, or while the file is rejected.
    """
    answer = Policy(app).get(version)
    app.out.show(as_value(answer), lambda: _print_policy(app, answer))


@click.command(
    cls=Command,
    examples=[
        "vestryctl access validate access.json",
        "vestryctl access validate access.production.yaml --layer environment",
    ],
)
@click.argument("file")
@layer_option
@click.pass_context
@pass_app
def validate(app: App, context: click.Context, file: str, layer: str | None) -> None:
    """Check a policy.

    Nothing is changed. FILE is JSON, YAML or TOML by its ending, or - for standard input. With --layer it is checked
    together with the other layers in force. The exit code is 1 when the policy could not be in force.
    """
    answer = _verdict(app, file, layer)

    def print_verdict() -> None:
        if answer.violations:
            print_violations(app.out, answer.violations)
        else:
            app.out.line(f"{file} is valid")

    app.out.show(as_value(answer), print_verdict)
    if answer.violations:
        context.exit(ExitCode.REFUSED)


@click.command(cls=Command, examples=["vestryctl access reload"])
@click.pass_context
@pass_app
def reload(app: App, context: click.Context) -> None:
    """Read the policy's files again now.

    If they are invalid, what is in force stays, and the exit code is 1.
    """
    answer = app.daemon.call(app.daemon.access.ReloadPolicy, access_pb2.ReloadPolicyRequest())
    app.out.show(as_value(answer), lambda: _print_reload(app, answer))
    if answer.violations:
        context.exit(ExitCode.REFUSED)


def _verdict(app: App, file: str, layer: str | None) -> access_pb2.ValidatePolicyResponse:
    """Ask the daemon about the policy in `file`; what is no document at all is judged here."""
    try:
        document = canonical(read_document(file))
    except SourceInvalid as error:
        return access_pb2.ValidatePolicyResponse(violations=[error.violation])
    request = access_pb2.ValidatePolicyRequest(layer=layer_number(layer), document=document)
    return app.daemon.call(app.daemon.access.ValidatePolicy, request)


def _print_policy(app: App, answer: access_pb2.GetPolicyResponse) -> None:
    app.out.facts((("version", _version(answer.version)), ("checksum", answer.checksum)))
    app.out.line()
    app.out.table(
        ("LAYER", "PRESENT", "DRIFT", "FILE"),
        (
            (
                layer_name(each.layer),
                text.yes_or_no(bool(each.document)),
                warning("drifted") if each.drifted else "no",
                each.file or text.NOTHING,
            )
            for each in answer.layers
        ),
        fold=("FILE",),
    )
    if answer.rejection:
        app.out.line()
        app.out.line(answer.rejection, "bold red")
    app.out.line()
    app.out.document(json_value(answer.document))


def _print_reload(app: App, answer: access_pb2.ReloadPolicyResponse) -> None:
    if answer.violations:
        app.out.line(f"the files are rejected, version {_version(answer.version)} stays in force", "bold red")
        print_violations(app.out, answer.violations)
    elif answer.changed:
        app.out.line(f"version {answer.version} is in force")
    else:
        app.out.line(f"nothing new, still version {_version(answer.version)}")


def _version(number: int) -> str:
    return str(number or "0 (built in)")
