"""`vestryctl secrets access`: a value."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from vestry.v1 import secrets_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.reading import name_argument
from vestryctl.failures import ExitCode, Failure
from vestryctl.options import Command, Whole, namespace_option
from vestryctl.private_files import write_private
from vestryctl.text import decoded, printable
from vestryctl.wire import as_value


@click.command(
    cls=Command,
    examples=[
        "vestryctl secrets access db-password",
        "vestryctl secrets access tls-key -n billing -f server.key",
        "vestryctl secrets access db-password --previous | psql-login",
    ],
)
@name_argument
@click.option("--version", type=Whole(), metavar="N", help="Give this version. [default: the current one]")
@click.option(
    "--previous", "label", flag_value="previous", type=str, help="Give the previous one, in its grace period."
)
@click.option("--pending", "label", flag_value="pending", type=str, help="Give the one that waits to be promoted.")
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it to FILE, which only you can read, byte for byte.",
)
@namespace_option
@pass_app
def access(app: App, name: str, namespace: str, *, version: int | None, label: str | None, file: Path | None) -> None:
    """Print a secret's value.

    Into a pipe go its bytes and nothing else; a terminal gets a newline after it, and no bytes that aren't text. With
    -o json or -o yaml the value is there as text, null if it is none, and in base64. Each access is in the audit log.
    """
    if version is not None and label is not None:
        raise click.UsageError("give --version, --previous or --pending, not several.")
    answer = app.daemon.call(
        app.daemon.secrets.AccessSecret,
        secrets_pb2.AccessSecretRequest(namespace=namespace, name=name, version=version or 0, label=_label(label)),
    )
    if file is not None:
        write_private(file, answer.value, what="the value")
        app.err.line(f"{file}: version {answer.version} of {name}")
        return
    app.out.show(_value(answer, namespace, name), lambda: _print(app, answer.value))


def _label(name: str | None) -> secrets_pb2.SecretLabel.ValueType:
    labels = {"previous": secrets_pb2.SECRET_LABEL_PREVIOUS, "pending": secrets_pb2.SECRET_LABEL_PENDING}
    return labels.get(name or "", secrets_pb2.SECRET_LABEL_CURRENT)


def _value(answer: secrets_pb2.AccessSecretResponse, namespace: str, name: str) -> dict[str, Any]:
    """Return the answer for machines, the value included: the one place where it is."""
    value = {"namespace": namespace, "name": name, **as_value(answer), "value": decoded(answer.value)}
    return value | {"value_base64": base64.b64encode(answer.value).decode()}


def _print(app: App, value: bytes) -> None:
    if not app.out.is_terminal:
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        return
    text = decoded(value)
    if text is None or printable(text) != text:
        problem = "the value has bytes that a terminal would act on: write it to a file (-f FILE), or into a pipe"
        raise Failure(problem, ExitCode.USAGE)
    app.out.document(text)
