"""`vestryctl config set`, `unset` and `patch`: changes of the runtime layer."""

from __future__ import annotations

from typing import Any

import click

from vestry.paths import Keys, to_pointer
from vestry.v1 import config_pb2
from vestryctl.app import App, pass_app
from vestryctl.diffs import by_pointer
from vestryctl.documents import STANDARD_INPUT, canonical, check_json, load_json, read_document
from vestryctl.failures import ExitCode, Failure, SourceInvalid
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
from vestryctl.patches import apply_patch
from vestryctl.wire import as_value, json_value


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
    before = current(app, namespace)
    document = json_value(before.value)
    if crosses_array(document, path):
        how["expected_version"] = how["expected_version"] or before.version
    _update(app, before, setting(document, path, parsed), **how)


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
    before = current(app, namespace)
    _update(app, before, removing(json_value(before.value), path), **how)


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
    document = read_document(file)
    if not isinstance(document, dict):
        raise Failure(f"can't apply {file}: a merge patch is an object")
    _update(app, current(app, namespace), document, **how)


def current(app: App, namespace: str) -> config_pb2.GetConfigResponse:
    """Read the document in force."""
    return app.daemon.call(app.daemon.config.GetConfig, config_pb2.GetConfigRequest(namespace=namespace))


def report(app: App, before: config_pb2.GetConfigResponse, answer: Any, *, dry_run: bool) -> None:
    """Print what an update or a rollback of the document `before` did, or would do."""
    app.out.show(as_value(answer), lambda: _print(app, before, answer, dry_run=dry_run))


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


def _update(
    app: App,
    before: config_pb2.GetConfigResponse,
    merge_patch: Any,
    *,
    message: str,
    expected_version: int | None,
    dry_run: bool,
) -> None:
    request = config_pb2.UpdateConfigRequest(
        namespace=before.namespace,
        merge_patch=canonical(merge_patch),
        expected_version=expected_version,
        dry_run=dry_run,
        message=message,
    )
    answer = app.daemon.call(app.daemon.config.UpdateConfig, request)
    report(app, before, answer, dry_run=dry_run)


def _print(app: App, before: config_pb2.GetConfigResponse, answer: Any, *, dry_run: bool) -> None:
    name = before.namespace
    if not answer.changed:
        app.out.line(f"{name}: nothing to change, version {answer.version} says so already")
        return
    old = json_value(_predecessor(app, before, answer.version).value)
    app.out.diff(by_pointer(old, apply_patch(old, json_value(answer.patch))))
    unseen = "" if json_value(answer.patch) else ", though no value in force differs"
    if dry_run:
        app.out.line(f"{name}: this would be version {answer.version}{unseen}; nothing was changed")
    else:
        app.out.line(f"{name}: version {answer.version} is in force{unseen}")


def _predecessor(app: App, before: config_pb2.GetConfigResponse, version: int) -> config_pb2.GetConfigResponse:
    """Return the document that `version` changed: the one that we read, unless somebody came in between."""
    if before.version == version - 1:
        return before
    request = config_pb2.GetConfigRequest(namespace=before.namespace, version=version - 1)
    return app.daemon.call(app.daemon.config.GetConfig, request)
