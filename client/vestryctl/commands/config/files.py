"""`vestryctl config validate`, `status`, `reload` and `namespaces`: documents and the files that they come from."""

from __future__ import annotations

import click
from rich.text import Text

from vestry.v1 import config_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.documents import canonical, read_document
from vestryctl.failures import ExitCode, SourceInvalid
from vestryctl.options import Command, layer_option, namespace_option
from vestryctl.output import warning
from vestryctl.violations import print_violations
from vestryctl.wire import as_value, layer_name, layer_number


@click.command(
    cls=Command,
    examples=[
        "vestryctl config validate whole-document.json",
        "vestryctl config validate production.yaml --layer environment",
        "vestryctl config get | jq '.server.port = 1' | vestryctl config validate -",
    ],
)
@click.argument("file")
@layer_option
@namespace_option
@click.pass_context
@pass_app
def validate(app: App, context: click.Context, file: str, layer: str | None, namespace: str) -> None:
    """Check a document against the schema.

    Nothing is changed. FILE is JSON, YAML or TOML by its ending, or - for standard input. With --layer it is checked
    together with the other layers in force. The exit code is 1 when it breaks rules.
    """
    answer = _verdict(app, file, layer, namespace)

    def print_verdict() -> None:
        if answer.valid:
            app.out.line(f"{file} is valid, by the rules of {namespace} version {answer.version}")
        else:
            print_violations(app.out, answer.violations)

    app.out.show(as_value(answer), print_verdict)
    if not answer.valid:
        context.exit(ExitCode.REFUSED)


@click.command(cls=Command, examples=["vestryctl config status", "vestryctl config status -n billing -o json"])
@namespace_option
@pass_app
def status(app: App, namespace: str) -> None:
    """Show layers, drift and rejected files.

    A layer drifts when what is in force is not what its file says: after a rollback, or while the file is rejected.
    """
    answer = app.daemon.call(app.daemon.config.GetConfigStatus, config_pb2.GetConfigStatusRequest(namespace=namespace))
    app.out.show(as_value(answer), lambda: _print_status(app, answer))


@click.command(cls=Command, examples=["vestryctl config reload", "vestryctl config reload billing"])
@click.argument("namespace", default="")
@click.pass_context
@pass_app
def reload(app: App, context: click.Context, namespace: str) -> None:
    """Read the files again now.

    Those of NAMESPACE, or all of them. A namespace whose files are invalid keeps what is in force; then the exit code
    is 1.
    """
    answer = app.daemon.call(app.daemon.config.ReloadConfig, config_pb2.ReloadConfigRequest(namespace=namespace))
    app.out.show(as_value(answer), lambda: _print_reload(app, answer))
    if any(result.HasField("rejection") for result in answer.results):
        context.exit(ExitCode.REFUSED)


@click.command(cls=Command, examples=["vestryctl config namespaces", "vestryctl config namespaces -o json"])
@pass_app
def namespaces(app: App) -> None:
    """List the namespaces."""
    pages = app.daemon.pages(app.daemon.config.ListNamespaces, config_pb2.ListNamespacesRequest(page_size=1000))
    found = [each for page in pages for each in page.namespaces]
    rows = ((each.namespace, str(each.version), text.local_time(each.update_time), _state(each)) for each in found)
    app.out.show(
        {"namespaces": [as_value(each) for each in found]},
        lambda: app.out.table(("NAMESPACE", "VERSION", "CHANGED", "FILES"), rows),
    )


def _verdict(app: App, file: str, layer: str | None, namespace: str) -> config_pb2.ValidateConfigResponse:
    """Ask the daemon about the document in `file`; what is no document at all is judged here."""
    try:
        document = canonical(read_document(file))
    except SourceInvalid as error:
        return config_pb2.ValidateConfigResponse(valid=False, violations=[error.violation])
    request = config_pb2.ValidateConfigRequest(
        namespace=namespace,
        layer=layer_number(layer),
        document=document,
    )
    return app.daemon.call(app.daemon.config.ValidateConfig, request)


def _print_status(app: App, answer: config_pb2.GetConfigStatusResponse) -> None:
    app.out.facts(
        (
            ("namespace", answer.namespace),
            ("version", f"{answer.version} (kept from {answer.oldest_version})"),
            ("changed", f"{text.local_time(answer.update_time)}, {text.since(answer.update_time)} ago"),
            ("environment", answer.environment),
            ("checksum", answer.checksum),
        )
    )
    app.out.line()
    app.out.table(
        ("LAYER", "PRESENT", "DRIFT", "TAKEN IN", "FILE"),
        (
            (
                layer_name(each.layer),
                text.yes_or_no(each.present),
                warning("drifted") if each.drifted else "no",
                text.local_time(each.ingest_time),
                each.file or text.NOTHING,
            )
            for each in answer.layers
        ),
        fold=("FILE",),
    )
    if answer.HasField("rejection"):
        app.out.line()
        app.out.line(f"The files are rejected since {text.local_time(answer.rejection.reject_time)}:", "bold red")
        print_violations(app.out, answer.rejection.violations)


def _print_reload(app: App, answer: config_pb2.ReloadConfigResponse) -> None:
    for result in answer.results:
        if result.HasField("rejection"):
            app.out.line(f"{result.namespace}: rejected, version {result.version} stays in force", "bold red")
            print_violations(app.out, result.rejection.violations)
        elif result.changed:
            app.out.line(f"{result.namespace}: version {result.version} is in force")
        else:
            app.out.line(f"{result.namespace}: nothing new, still version {result.version}")


def _state(summary: config_pb2.NamespaceSummary) -> str | Text:
    states = [name for name, holds in (("rejected", summary.rejected), ("drifted", summary.drifted)) if holds]
    return warning(", ".join(states)) if states else "ok"
