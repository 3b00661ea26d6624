"""`vestryctl config get`, `explain` and `schema`: what is in force, and why."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.text import Text

from vestry.paths import Keys, to_pointer
from vestry.v1 import config_pb2
from vestryctl.app import App, pass_app
from vestryctl.diffs import compact
from vestryctl.options import Command, Whole, namespace_option, optional_path_argument
from vestryctl.text import printable
from vestryctl.wire import as_value, json_value, layer_name


@click.command(
    cls=Command,
    examples=[
        "vestryctl config get",
        "vestryctl config get server.port",
        "vestryctl config get /providers/0 -n billing -o yaml",
        "vestryctl config get server --provenance",
    ],
)
@optional_path_argument
@namespace_option
@click.option("--version", type=Whole(), metavar="N", default=0, help="Read this version. [default: current]")
@click.option("--provenance", is_flag=True, help="Tell the layer that set each value.")
@pass_app
def get(app: App, path: Keys, namespace: str, version: int, *, provenance: bool) -> None:
    """Print the document in force, or a part of it.

    A string is printed as it is, anything else as JSON; with -o json or -o yaml the value and nothing else, also a
    string. With --provenance that is the whole answer: namespace, version, value, checksum, provenance, revision.
    """
    request = config_pb2.GetConfigRequest(
        namespace=namespace, pointer=to_pointer(path), version=version, include_provenance=provenance
    )
    answer = app.daemon.call(app.daemon.config.GetConfig, request)
    value = json_value(answer.value)
    if not provenance:
        app.out.show(value, lambda: app.out.document(value))
        return
    app.out.show(as_value(answer), lambda: _print_provenance(app, answer))


@click.command(
    cls=Command,
    examples=["vestryctl config explain", "vestryctl config explain server.port", "vestryctl config explain -o json"],
)
@optional_path_argument
@namespace_option
@pass_app
def explain(app: App, path: Keys, namespace: str) -> None:
    """Tell which layer set each value.

    For each value at or below PATH: the layer that decided, and below it what the layers said that were overruled. A
    value is hidden when a later layer deletes or replaces it.
    """
    request = config_pb2.ExplainConfigRequest(namespace=namespace, pointer=to_pointer(path))
    answer = app.daemon.call(app.daemon.config.ExplainConfig, request)
    app.out.show(
        as_value(answer),
        lambda: app.out.table(("POINTER", "VALUE", "LAYER", "FILE"), _explanation(answer), fold=("VALUE",)),
    )


@click.command(
    cls=Command, examples=["vestryctl config schema", "vestryctl config schema -n billing > billing.schema.json"]
)
@namespace_option
@pass_app
def schema(app: App, namespace: str) -> None:
    """Print the schema that documents must meet."""
    request = config_pb2.GetConfigSchemaRequest(namespace=namespace)
    value = json_value(app.daemon.call(app.daemon.config.GetConfigSchema, request).schema)
    app.out.show(value, lambda: app.out.document(value))


def _print_provenance(app: App, answer: config_pb2.GetConfigResponse) -> None:
    app.out.table(
        ("POINTER", "LAYER"),
        ((leaf.pointer or "(all)", layer_name(leaf.layer)) for leaf in answer.provenance),
        fold=("POINTER",),
    )


def _explanation(answer: config_pb2.ExplainConfigResponse) -> Iterator[tuple[str | Text, ...]]:
    """Yield a row for each leaf, and below it one for each layer that was overruled, the latest first."""
    for leaf in answer.leaves:
        files = {opinion.layer: opinion.file for opinion in leaf.opinions}
        value = compact(json_value(leaf.value)) if leaf.value else Text("(hidden)", "yellow")
        yield leaf.pointer or "(all)", value, layer_name(leaf.layer), _file_name(files.get(leaf.layer, ""))
        for opinion in reversed(leaf.opinions):
            if opinion.layer != leaf.layer:
                facts = compact(json_value(opinion.value)), layer_name(opinion.layer), _file_name(opinion.file)
                yield "", *(Text(printable(f"  {fact}"), "dim") for fact in facts)


def _file_name(file: str) -> str:
    """Return a file's name alone: `vestryctl config status` tells the whole path, which would take half of the table."""
    return file.rpartition("/")[2]
