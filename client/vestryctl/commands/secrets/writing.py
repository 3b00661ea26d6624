"""`vestryctl secrets put` and `update`: new values, and what is known beside them."""

from __future__ import annotations

import uuid
from typing import Any

import click

from vestry.errors import NotFound
from vestry.secrets import set_content
from vestry.v1 import secrets_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.generators import generator, generator_options
from vestryctl.commands.secrets.reading import name_argument, secret_of
from vestryctl.commands.secrets.settings import apply_settings, settings_of, settings_options
from vestryctl.commands.secrets.values import ValueCommand, from_file_option, raw_option, read_value
from vestryctl.failures import ExitCode, Failure
from vestryctl.options import Command, NotNegative, namespace_option
from vestryctl.sources import STANDARD_INPUT
from vestryctl.wire import as_value


@click.command(
    cls=ValueCommand,
    examples=[
        "vestryctl secrets put db-password                     # asks for it, twice",
        "pass show db | vestryctl secrets put db-password",
        "vestryctl secrets put tls-key --from-file server.key -n billing",
        "vestryctl secrets put session-key --generate hex --length 32",
        "vestryctl secrets put api-password --generate password --symbols '!%+' --rotate-every 30d --grace 1h",
    ],
)
@name_argument
@from_file_option
@raw_option
@generator_options
@settings_options
@click.option(
    "--expected-version",
    type=NotNegative(),
    metavar="N",
    help="Refuse, with exit code 4, unless this is the current version; 0: unless the secret is new.",
)
@namespace_option
@pass_app
def put(
    app: App,
    /,
    name: str,
    namespace: str,
    *,
    from_file: str | None,
    raw: bool,
    expected_version: int | None,
    **options: Any,
) -> None:
    """Write a secret's value.

    It is read from standard input, or asked for at a terminal without being shown; it can't be an argument, which every
    process on the machine could read. Of standard input one newline at the end is left out, unless --raw is given; a file
    is taken as it is. What --description and its like don't speak of stays. With --generate and --rotate-every, vestryd
    rotates it by itself.
    """
    maker, settings_given = _split(options)
    if maker is not None and from_file is not None:
        raise click.UsageError("give --from-file or --generate, not both.")
    content = maker if maker is not None else read_value(from_file or STANDARD_INPUT, raw=raw)
    request = secrets_pb2.PutSecretRequest(
        namespace=namespace, name=name, expected_version=expected_version, request_id=str(uuid.uuid4())
    )
    set_content(request, content)
    if any(settings_given.values()):
        request.settings.CopyFrom(_settings_now(app, namespace, name))
        apply_settings(request.settings, **settings_given)
        if maker is not None and settings_given["rotate_every"] is not None:
            request.settings.rotation.generator.CopyFrom(maker)
    answer = app.daemon.call(app.daemon.secrets.PutSecret, request)
    app.out.show(as_value(answer), lambda: app.out.line(f"{name}: version {answer.version} is current"))


@click.command(
    cls=Command,
    examples=[
        "vestryctl secrets update db-password --description 'the primary' --tag owner=alice",
        "vestryctl secrets update api-key --rotate-every 90d --generate hex --grace 1h",
        "vestryctl secrets update api-key --no-rotation --never-expires",
    ],
)
@name_argument
@settings_options
@generator_options
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option("--no-rotation", is_flag=True, help="Don't rotate it any more.")
@click.option("--never-expires", is_flag=True, help="Give its value for ever.")
@namespace_option
@pass_app
def update(
    app: App, /, name: str, namespace: str, *, no_tags: bool, no_rotation: bool, never_expires: bool, **options: Any
) -> None:
    """Change what is known of a secret beside its values.

    What no option speaks of stays as it is; --tag says all tags. --generate says what makes the values of rotations.
    """
    maker, settings_given = _split(options)
    settings = settings_of(secret_of(app, namespace, name))
    cleared = {"tags": no_tags, "rotation": no_rotation, "expire_time": never_expires}
    for field, is_cleared in cleared.items():
        if is_cleared:
            settings.ClearField(field)  # type: ignore[arg-type]  # its names are those of the dict above
    touched = {*apply_settings(settings, **settings_given), *(field for field, is_so in cleared.items() if is_so)}
    if maker is not None:
        settings.rotation.generator.CopyFrom(maker)
        touched.add("rotation")
    if not touched:
        raise Failure("there is nothing to change: give an option that says what", ExitCode.USAGE)
    request = secrets_pb2.UpdateSecretRequest(namespace=namespace, name=name, settings=settings)
    request.update_mask.paths.extend(sorted(touched))
    answer = app.daemon.call(app.daemon.secrets.UpdateSecret, request)
    app.out.show(as_value(answer), lambda: app.out.line(f"{name}: updated"))


def _split(options: dict[str, Any]) -> tuple[secrets_pb2.Generator | None, dict[str, Any]]:
    """Return what makes a value, and the options that are about settings."""
    making = {name: options.pop(name) for name in ("generate", "length", "symbols", "exclude")}
    return generator(**making), options


def _settings_now(app: App, namespace: str, name: str) -> secrets_pb2.SecretSettings:
    """Return what a secret is set to; nothing for one that is new."""
    try:
        return settings_of(secret_of(app, namespace, name))
    except NotFound:
        return secrets_pb2.SecretSettings()
