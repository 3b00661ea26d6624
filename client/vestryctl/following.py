"""Streams that go on where they were, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from vestry.backoff import ReconnectPolicy
from vestry.errors import RemoteError, Unavailable
from vestry.v1 import config_pb2, secrets_pb2
from vestryctl.app import App

_TOKEN_REASONS = {"RESUME_TOKEN_FOREIGN", "RESUME_TOKEN_INVALID"}


class _Message(Protocol):
    @property
    def resume_token(self) -> str: ...


M = TypeVar("M", bound=_Message)


def is_passing(error: RemoteError) -> bool:
    """Tell whether a stream that was there may come back: its daemon is away, or has started anew and forgot our token."""
    return isinstance(error, Unavailable) or error.reason == "CREDENTIALS_INVALID"


def follow_config(app: App, namespaces: Sequence[str]) -> Iterator[config_pb2.WatchConfigResponse]:
    """Yield what the daemon sends of the documents of some namespaces. As `follow`."""

    def stream(token: str) -> Iterator[config_pb2.WatchConfigResponse]:
        request = config_pb2.WatchConfigRequest(namespaces=namespaces, resume_token=token)
        return app.daemon.stream(app.daemon.config.WatchConfig, request)

    return follow(app, stream)


def follow_secrets(app: App, namespaces: Sequence[str]) -> Iterator[secrets_pb2.WatchSecretsResponse]:
    """Yield what the daemon sends of the secrets of some namespaces. As `follow`."""

    def stream(token: str) -> Iterator[secrets_pb2.WatchSecretsResponse]:
        request = secrets_pb2.WatchSecretsRequest(namespaces=namespaces, resume_token=token)
        return app.daemon.stream(app.daemon.secrets.WatchSecrets, request)

    return follow(app, stream)


def follow(app: App, open_stream: Callable[[str], Iterator[M]]) -> Iterator[M]:
    """Yield what the daemon sends on streams that `open_stream` opens with a resume token.

    A daemon that goes away is waited for, and who runs the program is told; one that was never there is an error, as is a
    refusal. When its token is no good, a stream begins anew.
    """
    policy = ReconnectPolicy()
    token = ""
    was_connected = False
    failures = 0
    while True:
        try:
            for message in open_stream(token):
                if failures:
                    app.err.line("vestryctl: vestryd is back")
                was_connected, failures = True, 0
                token = message.resume_token or token
                yield message
        except RemoteError as error:
            if error.reason in _TOKEN_REASONS and token:
                token = ""
                continue
            if not was_connected or not is_passing(error):
                raise
        if not failures:
            app.err.line(f"vestryctl: lost vestryd at {app.daemon.address}, waiting for it to come back")
        failures += 1
        time.sleep(policy.delay_seconds(failures))
