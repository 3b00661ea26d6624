"""`vestryctl config set`, `unset` and `patch`: changes of the runtime layer."""

from __future__ import annotations

from typing import Any

import click

from vestry.paths import Keys, to_pointer
from vestryctl import layered
from vestryctl.app import App, pass_app
from vestryctl.commands.config.namespace import Namespace
from vestryctl.documents import check_json, load_json, read_merge_patch
from vestryctl.failures import ExitCode, Failure, SourceInvalid
from vestryctl.layered import Terms
from vestryctl.merge_patches import crosses_array, removing, setting
from vestryctl.options import (
    Command,
    Utf8,
    dry_run_option,
    expected_version_option,
    message_option,
    namespace_option,
    path_argument,
)
from vestryctl.sources import STANDARD_INPUT


@click.command(
    "set",
    cls=Command,
    examples=[
        "vestryctl config set server.port 8443 -m 'behind the new proxy'",
        "vestryctl config set logging.level debug -n billing",
        "vestryctl config set release.name 2024 --string",
        "vestryctl config set server.hosts.- '\"10.0.0.7\"'         # append to an array",
        "vestryctl config set limits '{\"rps\": 100}' --dry-run    # merge into an object",
    ],
)
@path_argument
@click.argument("value", type=Utf8())
@click.option("--string", "is_string", is_flag=True, help="Take VALUE as a string, even if it is JSON.")
@namespace_option
@message_option
@expected_version_option
@dry_run_option
@pass_app
def set_(app: App, /, path: Keys, value: str, namespace: str, *, is_string: bool, **how: Any) -> None:
    """Set a value in the runtime layer.

    VALUE is JSON if it reads as JSON, and otherwise a string; to begin it with a dash, put -- before PATH. An object is
    merged into what the layer has there. Setting an element of an array puts the whole array into the layer.
    """
    parsed = value if is_string else _json_or_string(value)
    if not path:
        raise Failure(
            "can't set the whole document: use 'vestryctl config patch' or 'vestryctl config edit'", ExitCode.USAGE
        )
    if parsed is None:
        raise Failure(
            f"can't set {to_pointer(path)} to null: in a merge patch null means to remove. Use 'vestryctl config unset' to "
            "show what the other layers say, 'vestryctl config edit' to delete that too, or --string for the word",
            ExitCode.USAGE,
        )
    document = Namespace(app, namespace)
    before = document.read()
    if crosses_array(before.value, path):
        how["expected_version"] = how["expected_version"] or before.version
    layered.patch(app, document, before, setting(before.value, path, parsed), Terms(**how))


@click.command(
    cls=Command, examples=["vestryctl config unset server.port", "vestryctl config unset /logging -n billing --dry-run"]
)
@path_argument
@namespace_option
@message_option
@expected_version_option
@dry_run_option
@pass_app
def unset(app: App, /, path: Keys, namespace: str, **how: Any) -> None:
    """Take a value out of the runtime layer.

    What the other layers say at PATH shows again.
    """
    if not path:
        raise Failure(
            "can't unset the whole document: empty the runtime layer with 'vestryctl config edit'", ExitCode.USAGE
        )
    document = Namespace(app, namespace)
    before = document.read()
    layered.patch(app, document, before, removing(before.value, path), Terms(**how))


@click.command(
    cls=Command,
    examples=[
        "vestryctl config patch changes.yaml -m 'winter limits'",
        'echo \'{"server": {"port": null}}\' | vestryctl config patch',
        "vestryctl config patch changes.json --dry-run",
    ],
)
@click.argument("file", default=STANDARD_INPUT)
@namespace_option
@message_option
@expected_version_option
@dry_run_option
@pass_app
def patch(app: App, /, file: str, namespace: str, **how: Any) -> None:
    """Apply a merge patch (RFC 7396) to the runtime layer.

    FILE is JSON, YAML or TOML by its ending; without FILE, or with -, standard input is read. A null takes a key out of
    the layer, an array replaces an array.
    """
    merge_patch = read_merge_patch(file)
    document = Namespace(app, namespace)
    layered.patch(app, document, document.read(), merge_patch, Terms(**how))


def _json_or_string(value: str) -> Any:
    try:
        parsed = load_json(value, "VALUE")
        check_json(parsed, "VALUE")
    except SourceInvalid as error:
        if value.lstrip().startswith(("{", "[", '"')):
            problem = f"VALUE begins like JSON, but {error.violation.message}: correct it, or give --string"
            raise Failure(problem, ExitCode.USAGE) from error
        return value
    return parsed
