"""`vestryctl secrets delete`, `undelete` and `destroy`: what goes, and what can come back."""

from __future__ import annotations

import click

from vestry.v1 import secrets_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.reading import name_argument
from vestryctl.failures import Failure
from vestryctl.options import Command, Whole, expected_version_option, namespace_option, yes_option
from vestryctl.wire import as_value


@click.command(
    cls=Command, examples=["vestryctl secrets delete old-key", "vestryctl secrets delete old-key -n billing -y"]
)
@name_argument
@expected_version_option
@namespace_option
@yes_option
@pass_app
def delete(app: App, name: str, namespace: str, expected_version: int | None, *, yes: bool) -> None:
    """Delete a secret, so that it can be undeleted.

    Nobody can have its values until then. Asks first.
    """
    if not yes and app.confirm(f"Delete {name} in {namespace}? Programs that use it can't have it any more") != "y":
        raise Failure("nothing was changed")
    request = secrets_pb2.DeleteSecretRequest(namespace=namespace, name=name, expected_version=expected_version)
    answer = app.daemon.call(app.daemon.secrets.DeleteSecret, request)
    note = f"{name}: deleted; 'vestryctl secrets undelete' takes it back"
    app.out.show(as_value(answer), lambda: app.out.line(note))


@click.command(cls=Command, examples=["vestryctl secrets undelete old-key"])
@name_argument
@namespace_option
@pass_app
def undelete(app: App, name: str, namespace: str) -> None:
    """Take a deletion back."""
    request = secrets_pb2.UndeleteSecretRequest(namespace=namespace, name=name)
    answer = app.daemon.call(app.daemon.secrets.UndeleteSecret, request)
    app.out.show(
        as_value(answer), lambda: app.out.line(f"{name}: version {answer.secret.current_version} is there again")
    )


@click.command(cls=Command, examples=["vestryctl secrets destroy db-password 3"])
@name_argument
@click.argument("version", type=Whole())
@namespace_option
@yes_option
@pass_app
def destroy(app: App, name: str, version: int, namespace: str, *, yes: bool) -> None:
    """Erase the value of one version for good.

    Backups and exported files that hold it keep it. Asks first.
    """
    if not yes and app.confirm(f"Erase version {version} of {name} in {namespace} for good?") != "y":
        raise Failure("nothing was changed")
    request = secrets_pb2.DestroySecretVersionRequest(namespace=namespace, name=name, version=version)
    answer = app.daemon.call(app.daemon.secrets.DestroySecretVersion, request)
    app.out.show(as_value(answer), lambda: app.out.line(f"{name}: the value of version {version} is gone"))
