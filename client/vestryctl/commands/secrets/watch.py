"""`vestryctl secrets watch`: every change, as it happens; never a value."""

from __future__ import annotations

import click

from vestry.v1 import secrets_pb2
from vestryctl import completing, text
from vestryctl.app import App, pass_app
from vestryctl.following import follow_secrets
from vestryctl.options import Command, Utf8
from vestryctl.wire import as_value, enum_name


@click.command(
    cls=Command,
    examples=[
        "vestryctl secrets watch",
        "vestryctl secrets watch billing checkout -o json | jq .change",
    ],
)
@click.argument("namespaces", nargs=-1, type=Utf8(), metavar="[NAMESPACE]...", shell_complete=completing.namespaces)
@pass_app
def watch(app: App, namespaces: tuple[str, ...]) -> None:
    """Print every change as it happens.

    New versions, deletions, rotations that fall due; never a value. What is there now comes first; Ctrl-C ends it, with
    exit code 130. When the daemon goes away, the watch waits for it and goes on where it was. With -o json each line is an
    object with resume_token and either state or change, as in Vestry's protocol.
    """
    for message in follow_secrets(app, list(namespaces) or ["default"]):
        if message.WhichOneof("event") in {"state", "change"}:
            _show(app, message)


def _show(app: App, message: secrets_pb2.WatchSecretsResponse) -> None:
    app.out.show_event(as_value(message), lambda: _print(app, message))


def _print(app: App, message: secrets_pb2.WatchSecretsResponse) -> None:
    if message.WhichOneof("event") == "state":
        for secret in message.state.secrets:
            app.out.line(_line(secret, "now"))
        if not message.state.secrets:
            app.out.line(f"{text.NOTHING}  {message.state.namespace}  no secrets  [now]")
        return
    event = enum_name(secrets_pb2.SecretEvent.DESCRIPTOR, message.change.event) or "updated"
    app.out.line(_line(message.change.secret, event.replace("_", " ")), "bold")


def _line(secret: secrets_pb2.Secret, event: str) -> str:
    when = text.local_time(secret.delete_time if secret.HasField("delete_time") else secret.update_time)
    version = f"version {secret.current_version}" if secret.current_version else "no current version"
    parts = (when, secret.namespace, secret.name, version, f"by {secret.author}" if secret.author else "", f"[{event}]")
    return "  ".join(part for part in parts if part)
