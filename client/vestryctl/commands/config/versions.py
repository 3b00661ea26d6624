"""`vestryctl config history`, `show`, `diff` and `rollback`: what was in force."""

from __future__ import annotations

from collections.abc import Iterator

import click

from vestry.v1 import config_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.commands.config.namespace import Namespace
from vestryctl.layered import PAGE_SIZE, cause, roll_back, show_diff, show_history
from vestryctl.options import Command, Whole, dry_run_option, message_option, namespace_option, yes_option
from vestryctl.wire import as_value, json_value, layer_name


@click.command(
    cls=Command, examples=["vestryctl config history", "vestryctl config history -n billing --limit 100 -o json"]
)
@namespace_option
@click.option("--limit", type=Whole(), default=20, show_default=True, metavar="N", help="How many at most.")
@pass_app
def history(app: App, namespace: str, limit: int) -> None:
    """List the versions, newest first."""
    show_history(app, _versions(app, namespace, limit), limit)


@click.command(cls=Command, examples=["vestryctl config show 12", "vestryctl config show 12 -o json | jq .document"])
@click.argument("version", type=Whole())
@namespace_option
@pass_app
def show(app: App, version: int, namespace: str) -> None:
    """Show a version: author, time, reason, layers."""
    answer = Namespace(app, namespace).version(version)
    app.out.show(as_value(answer), lambda: _print_version(app, answer))


@click.command(
    cls=Command,
    examples=[
        "vestryctl config diff 12",
        "vestryctl config diff 12 14 --pointers",
        "vestryctl config diff 12 -o json  # RFC 6902",
    ],
)
@click.argument("from_version", type=Whole(), metavar="FROM")
@click.argument("to_version", type=Whole(), metavar="[TO]", default=0)
@namespace_option
@click.option("--pointers", is_flag=True, help="One line for each value, by its JSON Pointer.")
@click.option("--exit-code", "tells", is_flag=True, help="Exit with 1 when there are differences, as git diff does.")
@click.pass_context
@pass_app
def diff(
    app: App, context: click.Context, from_version: int, to_version: int, namespace: str, *, pointers: bool, tells: bool
) -> None:
    """Show what changed between two versions.

    The documents in force at FROM and at TO are compared; without TO, the current one. The exit code is 0 whether there
    are differences or not, unless --exit-code is given.
    """
    request = config_pb2.DiffConfigVersionsRequest(
        namespace=namespace, from_version=from_version, to_version=to_version
    )
    answer = app.daemon.call(app.daemon.config.DiffConfigVersions, request)

    document = Namespace(app, namespace)
    show_diff(app, namespace, answer, lambda each: json_value(document.version(each).document), pointers=pointers)
    if tells and json_value(answer.patch):
        context.exit(1)


@click.command(
    cls=Command,
    examples=["vestryctl config rollback 12", "vestryctl config rollback 12 -n billing --yes -m 'bad limits'"],
)
@click.argument("version", type=Whole())
@namespace_option
@message_option
@dry_run_option
@yes_option
@pass_app
def rollback(app: App, version: int, namespace: str, message: str, *, dry_run: bool, yes: bool) -> None:
    """Go back to the layers of an earlier version.

    They become a new version, which stays in force until a file is edited. Shows what would change and asks first; the
    rollback is refused, with exit code 4, if another change comes in between.
    """
    roll_back(app, Namespace(app, namespace), version, message=message, dry_run=dry_run, yes=yes)


def _versions(app: App, namespace: str, limit: int) -> Iterator[config_pb2.ConfigVersion]:
    request = config_pb2.ListConfigVersionsRequest(namespace=namespace, page_size=min(limit, PAGE_SIZE))
    for page in app.daemon.pages(app.daemon.config.ListConfigVersions, request):
        yield from page.versions


def _print_version(app: App, answer: config_pb2.GetConfigVersionResponse) -> None:
    facts = answer.version
    app.out.facts(
        (
            ("version", f"{facts.version} of {facts.namespace}"),
            ("time", text.local_time(facts.create_time)),
            ("author", facts.author or text.NOTHING),
            ("cause", cause(facts)),
            ("message", text.in_one_line(facts.message) or text.NOTHING),
            ("changed", ", ".join(layer_name(layer) for layer in facts.changed_layers) or text.NOTHING),
            ("checksum", facts.checksum),
            ("revision", str(facts.revision)),
        )
    )
    for layer in answer.layers:
        app.out.line()
        app.out.line(f"{layer_name(layer.layer)}{f', from {layer.file}' if layer.file else ''}:", "bold")
        app.out.document(json_value(layer.document))
