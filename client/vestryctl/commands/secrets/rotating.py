"""`vestryctl secrets rotate`: a new value, at once or in two steps."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

import click

from vestry.secrets import set_content
from vestry.v1 import secrets_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.generators import generator, generator_options
from vestryctl.commands.secrets.reading import name_argument
from vestryctl.commands.secrets.values import ValueCommand, from_file_option, raw_option, read_value
from vestryctl.options import Span, expected_version_option, namespace_option
from vestryctl.wire import as_value

_STEPS: Final = {
    "pending": secrets_pb2.ROTATION_STEP_PENDING,
    "promote": secrets_pb2.ROTATION_STEP_PROMOTE,
    "abandon": secrets_pb2.ROTATION_STEP_ABANDON,
}
_OUTCOMES: Final = {"pending": "is pending", "promote": "is current", "abandon": "is abandoned", None: "is current"}


@click.command(
    cls=ValueCommand,
    examples=[
        "vestryctl secrets rotate api-key                      # by its own generator",
        "vestryctl secrets rotate api-key --generate hex --grace 1h",
        "new-password | vestryctl secrets rotate db-password --from-file - --pending",
        "vestryctl secrets rotate db-password --promote",
    ],
)
@name_argument
@click.option("--pending", "step", flag_value="pending", type=str, help="Let the new value wait until it is promoted.")
@click.option("--promote", "step", flag_value="promote", type=str, help="Make the pending version the current one.")
@click.option("--abandon", "step", flag_value="abandon", type=str, help="Destroy the pending version.")
@from_file_option
@raw_option
@generator_options
@click.option(
    "--grace", type=Span(), metavar="SPAN", help="How long the value before still works. [default: its policy's]"
)
@expected_version_option
@namespace_option
@pass_app
def rotate(
    app: App,
    /,
    name: str,
    namespace: str,
    *,
    step: str | None,
    from_file: str | None,
    raw: bool,
    grace: timedelta | None,
    expected_version: int | None,
    **making: Any,
) -> None:
    """Replace a secret's value by a new one.

    The value before still works for a grace period. The new one comes from --from-file, from --generate or, without
    either, from the secret's own generator. With --pending it waits, to be had by 'vestryctl secrets access --pending',
    until it is in place wherever it is used; then --promote makes it current.
    """
    maker = generator(**making)
    if maker is not None and from_file is not None:
        raise click.UsageError("give --from-file or --generate, not both.")
    if step in {"promote", "abandon"} and (maker is not None or from_file is not None):
        raise click.UsageError(f"--{step} takes no value: it is about the pending one.")
    request = secrets_pb2.RotateSecretRequest(
        namespace=namespace,
        name=name,
        step=_STEPS.get(step or "", secrets_pb2.ROTATION_STEP_UNSPECIFIED),
        expected_version=expected_version,
        request_id=str(uuid.uuid4()),
    )
    set_content(request, maker if from_file is None else read_value(from_file, raw=raw))
    if grace is not None:
        request.grace.FromTimedelta(grace)
    answer = app.daemon.call(app.daemon.secrets.RotateSecret, request)
    app.out.show(as_value(answer), lambda: app.out.line(_summary(name, step, answer)))


def _summary(name: str, step: str | None, answer: secrets_pb2.RotateSecretResponse) -> str:
    line = f"{name}: version {answer.version} {_OUTCOMES[step]}"
    if step in {None, "promote"} and answer.secret.HasField("previous_until_time"):
        until = text.local_time(answer.secret.previous_until_time)
        line += f", version {answer.secret.previous_version} works until {until}"
    return line
