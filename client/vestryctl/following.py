"""Streams that go on where they were, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from vestry.backoff import ReconnectPolicy
from vestry.errors import RemoteError, Unavailable
from vestry.v1 import config_pb2, secrets_pb2
from vestryctl.app import App

_MAX_REFUSALS = 3
_TOKEN_REASONS = {"RESUME_TOKEN_FOREIGN", "RESUME_TOKEN_INVALID"}


class _Message(Protocol):
    @property
    def resume_token(self) -> str: ...


M = TypeVar("M", bound=_Message)


class Patience:
    """Tells whether a stream that is lost may come back: one that was never there, and one that is refused, doesn't.

    A token that is refused may be one of a daemon that has started anew since; so it takes a second refusal, and one more for
    the next token to arrive.
    """

    def __init__(self) -> None:
        self._was_connected = False
        self._refusals = 0  # running

    def heard(self) -> None:
        """Say that the stream brought something."""
        self._was_connected, self._refusals = True, 0

    def outlasts(self, error: RemoteError) -> bool:
        """Tell whether to try again after `error`."""
        if error.reason == "CREDENTIALS_INVALID":
            self._refusals += 1
            return self._was_connected and self._refusals < _MAX_REFUSALS
        return self._was_connected and isinstance(error, Unavailable)


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
    patience = Patience()
    failures = 0
    while True:
        try:
            for message in open_stream(token):
                if failures:
                    app.err.line("vestryctl: vestryd is back")
                failures = 0
                patience.heard()
                token = message.resume_token or token
                yield message
        except RemoteError as error:
            if error.reason in _TOKEN_REASONS and token:
                token = ""
                continue
            if not patience.outlasts(error):
                raise
        if not failures:
            app.err.line(f"vestryctl: lost vestryd at {app.daemon.address}, waiting for it to come back")
        failures += 1
        time.sleep(policy.delay_seconds(failures))
