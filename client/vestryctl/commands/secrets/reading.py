"""`vestryctl secrets get`, `list`, `versions` and `rotations`: what is known of secrets; never a value."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import click
from rich.text import Text

from vestry.v1 import secrets_pb2
from vestryctl import completing, text
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.generators import described
from vestryctl.options import Command, Utf8, Whole, namespace_option
from vestryctl.wire import as_value, enum_name

_PAGE_SIZE = 100
_STYLES = {"due": "yellow", "overdue": "red"}

name_argument = click.argument("name", type=Utf8(), shell_complete=completing.secrets)
limit_option = click.option(
    "--limit", type=Whole(), default=1000, show_default=True, metavar="N", help="How many at most."
)


@click.command(
    cls=Command, examples=["vestryctl secrets get db-password", "vestryctl secrets get key -n billing -o json"]
)
@name_argument
@namespace_option
@pass_app
def get(app: App, name: str, namespace: str) -> None:
    """Tell what is known of a secret.

    That is everything but its values, which 'vestryctl secrets access' gives.
    """
    secret = secret_of(app, namespace, name)
    app.out.show(as_value(secret), lambda: app.out.facts(_facts(secret)))


@click.command(
    "list", cls=Command, examples=["vestryctl secrets list", "vestryctl secrets list -n billing --prefix db-"]
)
@namespace_option
@click.option("--prefix", type=Utf8(), default="", metavar="TEXT", help="Only names that begin so.")
@click.option("--deleted", is_flag=True, help="List deleted ones as well.")
@limit_option
@pass_app
def list_(app: App, namespace: str, prefix: str, limit: int, *, deleted: bool) -> None:
    """List the secrets of a namespace."""
    found = list(islice(_secrets(app, namespace, prefix, deleted=deleted), limit))
    columns = ("NAME", "VERSION", "UPDATED", "ROTATION", "EXPIRES", "DESCRIPTION")
    app.out.show(
        {"secrets": [as_value(each) for each in found]},
        lambda: app.out.table(columns, (_row(each) for each in found), fold=("NAME", "DESCRIPTION")),
    )


@click.command(cls=Command, examples=["vestryctl secrets versions db-password"])
@name_argument
@namespace_option
@limit_option
@pass_app
def versions(app: App, name: str, namespace: str, limit: int) -> None:
    """List a secret's versions, newest first."""
    found = list(islice(_versions(app, namespace, name), limit))
    columns = ("VERSION", "STATE", "TIME", "AUTHOR", "SIZE", "TERM")
    app.out.show(
        {"versions": [as_value(each) for each in found]},
        lambda: app.out.table(columns, (_version_row(each) for each in found), fold=("AUTHOR",)),
    )


@click.command(cls=Command, examples=["vestryctl secrets rotations", "vestryctl secrets rotations --due -o json"])
@namespace_option
@click.option("--due", is_flag=True, help="Only those that are due or overdue.")
@limit_option
@pass_app
def rotations(app: App, namespace: str, limit: int, *, due: bool) -> None:
    """Tell which rotations are due, the most urgent first."""
    found: list[secrets_pb2.Secret] = []
    request = secrets_pb2.GetRotationStatusRequest(namespace=namespace, only_due=due, page_size=min(limit, _PAGE_SIZE))
    for page in app.daemon.pages(app.daemon.secrets.GetRotationStatus, request):
        found += page.secrets
        if len(found) >= limit:
            break
    value = {"secrets": [as_value(each) for each in found[:limit]], "due": page.due, "overdue": page.overdue}

    def print_table() -> None:
        columns = ("NAME", "STATE", "DUE", "PERIOD", "MADE BY")
        app.out.table(columns, (_rotation_row(each) for each in found[:limit]), fold=("NAME", "MADE BY"))
        app.out.line(f"{page.due} due, {page.overdue} overdue")

    app.out.show(value, print_table)


def secret_of(app: App, namespace: str, name: str) -> secrets_pb2.Secret:
    """Read what is known of a secret."""
    request = secrets_pb2.GetSecretRequest(namespace=namespace, name=name)
    return app.daemon.call(app.daemon.secrets.GetSecret, request).secret


def rotation_state(secret: secrets_pb2.Secret) -> Text:
    """Return how a secret stands to its rotation."""
    state = enum_name(secrets_pb2.RotationState.DESCRIPTOR, secret.rotation_state) or text.NOTHING
    return Text(state, _STYLES.get(state, ""))


def _secrets(app: App, namespace: str, prefix: str, *, deleted: bool) -> Iterator[secrets_pb2.Secret]:
    request = secrets_pb2.ListSecretsRequest(
        namespace=namespace, name_prefix=prefix, include_deleted=deleted, page_size=_PAGE_SIZE
    )
    for page in app.daemon.pages(app.daemon.secrets.ListSecrets, request):
        yield from page.secrets


def _versions(app: App, namespace: str, name: str) -> Iterator[secrets_pb2.SecretVersion]:
    request = secrets_pb2.ListSecretVersionsRequest(namespace=namespace, name=name, page_size=_PAGE_SIZE)
    for page in app.daemon.pages(app.daemon.secrets.ListSecretVersions, request):
        yield from page.versions


def _row(secret: secrets_pb2.Secret) -> tuple[str | Text, ...]:
    return (
        secret.name,
        "deleted" if secret.HasField("delete_time") else str(secret.current_version or text.NOTHING),
        text.local_time(secret.update_time),
        rotation_state(secret),
        text.local_time(secret.expire_time),
        text.in_one_line(secret.description),
    )


def _version_row(version: secrets_pb2.SecretVersion) -> tuple[str, ...]:
    return (
        str(version.version),
        enum_name(secrets_pb2.SecretVersionState.DESCRIPTOR, version.state) or text.NOTHING,
        text.local_time(version.create_time),
        version.author or text.NOTHING,
        text.size(version.size),
        str(version.term or text.NOTHING),
    )


def _rotation_row(secret: secrets_pb2.Secret) -> tuple[str | Text, ...]:
    by = described(secret.rotation.generator) if secret.rotation.HasField("generator") else "somebody"
    return (
        secret.name,
        rotation_state(secret),
        text.local_time(secret.next_rotation_time),
        text.span(secret.rotation.period.ToTimedelta().total_seconds()),
        by,
    )


def _facts(secret: secrets_pb2.Secret) -> Iterator[tuple[str, str | Text]]:
    yield "name", f"{secret.name} in {secret.namespace}"
    yield "description", text.in_one_line(secret.description) or text.NOTHING
    yield "tags", ", ".join(f"{name}={value}" for name, value in sorted(secret.tags.items())) or text.NOTHING
    yield "current", str(secret.current_version or text.NOTHING)
    if secret.previous_version:
        until = f", works until {text.local_time(secret.previous_until_time)}"
        yield "previous", f"{secret.previous_version}{until if secret.HasField('previous_until_time') else ''}"
    if secret.pending_version:
        yield "pending", str(secret.pending_version)
    yield "created", text.local_time(secret.create_time)
    yield "updated", f"{text.local_time(secret.update_time)} by {secret.author or text.NOTHING}"
    yield "expires", text.local_time(secret.expire_time)
    if secret.HasField("delete_time"):
        yield "deleted", Text(text.local_time(secret.delete_time), "red")
    if secret.HasField("rotation"):
        yield from _rotation_facts(secret)


def _rotation_facts(secret: secrets_pb2.Secret) -> Iterator[tuple[str, str | Text]]:
    policy = secret.rotation
    if policy.HasField("period"):
        yield "rotation", f"every {text.span(policy.period.ToTimedelta().total_seconds())}"
        yield "due", Text.assemble(text.local_time(secret.next_rotation_time), ", ", rotation_state(secret))
    if policy.HasField("grace"):
        yield "grace", text.span(policy.grace.ToTimedelta().total_seconds())
    if policy.HasField("generator"):
        yield "generator", described(policy.generator)
