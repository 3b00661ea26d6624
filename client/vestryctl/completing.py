"""What the shell may complete by asking the daemon. When it doesn't answer at once, nothing is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vestry.errors import VestryError
from vestry.v1 import config_pb2, secrets_pb2
from vestryctl.app import App
from vestryctl.wire import json_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

_PATIENCE_SECONDS = 0.5


def namespaces(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of namespaces."""
    app = _impatient_app(context)
    try:
        answer = app.daemon.call(app.daemon.config.ListNamespaces, config_pb2.ListNamespacesRequest(page_size=1000))
    except VestryError:
        return []
    return [each.namespace for each in answer.namespaces if each.namespace.startswith(incomplete)]


def secrets(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of a namespace's secrets."""
    app = _impatient_app(context)
    request = secrets_pb2.ListSecretsRequest(
        namespace=context.params.get("namespace") or "", name_prefix=incomplete, page_size=1000
    )
    try:
        return [each.name for each in app.daemon.call(app.daemon.secrets.ListSecrets, request).secrets]
    except VestryError:
        return []


def paths(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Offer dotted paths: the keys that may come next, and what is right below them."""
    app = _impatient_app(context)
    request = config_pb2.GetConfigRequest(namespace=context.params.get("namespace") or "")
    try:
        document = json_value(app.daemon.call(app.daemon.config.GetConfig, request).value)
    except VestryError:
        return []
    depth = incomplete.count(".") + 2
    return [path for path in _dotted(document, "", depth) if path.startswith(incomplete)]


def _impatient_app(context: click.Context) -> App:
    app = context.ensure_object(App)
    app.timeout_seconds = _PATIENCE_SECONDS
    return app


def _dotted(document: Any, above: str, depth: int) -> Iterator[str]:
    """Yield the paths of at most `depth` keys; a key that would have to be quoted is left out with all below it."""
    if not depth or not isinstance(document, dict):
        return
    for key, value in sorted(document.items()):
        if key and not set(key) & set(".'\"/ "):
            yield above + key
            yield from _dotted(value, f"{above}{key}.", depth - 1)
