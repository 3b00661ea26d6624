"""`vestryctl secrets keyring`: the keys that wrap every version's own key."""

from __future__ import annotations

import click

from vestry.v1 import secrets_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.options import Group
from vestryctl.wire import as_value, enum_name


@click.group(cls=Group)
def keyring() -> None:
    """Rotate the keys that secrets are kept under."""


@keyring.command(examples=["vestryctl secrets keyring rotate"])
@pass_app
def rotate(app: App) -> None:
    """Make a new key, and wrap every version's own key in it.

    That happens in the background, and no reader notices; the values themselves are not encrypted anew.
    """
    answer = app.daemon.call(app.daemon.secrets.RotateKeyring, secrets_pb2.RotateKeyringRequest())
    note = f"term {answer.term} is active; 'vestryctl secrets keyring status' shows the re-wrapping"
    app.out.show(as_value(answer), lambda: app.out.line(note))


@keyring.command(examples=["vestryctl secrets keyring status"])
@pass_app
def status(app: App) -> None:
    """Show the keys, and what is still to be wrapped again."""
    answer = app.daemon.call(app.daemon.secrets.RewrapStatus, secrets_pb2.RewrapStatusRequest())
    app.out.show(as_value(answer), lambda: _print(app, answer))


def _print(app: App, answer: secrets_pb2.RewrapStatusResponse) -> None:
    app.out.table(("TERM", "STATE", "CREATED", "VERSIONS", "USES"), (_row(term) for term in answer.terms))
    if answer.running or answer.remaining:
        app.out.line(f"{answer.done} versions wrapped again, {answer.remaining} to go")
    if answer.problem:
        app.out.line(f"it can't go on: {answer.problem}", "bold red")


def _row(term: secrets_pb2.KeyringTerm) -> tuple[str, ...]:
    state = enum_name(secrets_pb2.KeyringTermState.DESCRIPTOR, term.state) or text.NOTHING
    return (
        str(term.term),
        state.replace("_", " "),
        text.local_time(term.create_time),
        str(term.versions),
        str(term.wraps),
    )
