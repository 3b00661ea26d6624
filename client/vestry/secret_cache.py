"""Secrets' values, kept in memory for a moment."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vestry.errors import DeadlineExceeded, LimitExceeded, RemoteError, Unavailable
from vestry.live_secrets import CURRENT, KeptValue, LiveSecret, LiveSecrets, Which
from vestry.remote import PASSING_REASONS, Remote
from vestry.rotations import Called, RotationSubscription
from vestry.v1 import secrets_pb2, secrets_pb2_grpc

log = logging.getLogger(__name__)


class SecretSource(Protocol):
    """Who knows the news of secrets."""

    def known(self, namespace: str) -> LiveSecrets:
        """Return what is known of a namespace, which need not be watched."""

    def add(self, namespace: str) -> LiveSecrets:
        """Return what is known of a namespace, and watch it from now on. Raises LimitExceeded, ClientClosed."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long values are kept in memory.

    A value is given again for `fresh_seconds`, and after that, while the daemon can't be reached, until it is
    `stale_seconds` old. With 0 fresh seconds nothing is kept at all.
    """

    fresh_seconds: float = 5.0
    stale_seconds: float = 300.0

    @property
    def longest_seconds(self) -> float:
        """Return for how long a value is kept at most."""
        return max(self.fresh_seconds, self.stale_seconds) if self.fresh_seconds > 0 else 0.0


DEFAULT_KEEPING: Final = Keeping()


class SecretCache:
    """Gets the values of one session's secrets. What the daemon refuses is refused, kept or not.

    `later` runs a function after so many seconds; it is how a value leaves the memory that nobody asks for again.
    """

    def __init__(
        self,
        source: SecretSource,
        stub: secrets_pb2_grpc.SecretsServiceAsyncStub,
        remote: Remote,
        *,
        keeping: Keeping,
        later: Callable[[float, Callable[[], None]], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stub = stub
        self.remote = remote
        self._source = source
        self._keeping = keeping
        self._later = later
        self._clock = clock
        self._process_id = os.getpid()

    def secrets(self, namespace: str) -> LiveSecrets:
        """Return what is known of a namespace."""
        return self._source.known(namespace)

    def peek(self, secret: LiveSecret, which: Which) -> bytes | None:
        """Return the value if it is kept and fresh. Any thread may ask."""
        kept = secret.values.get(which)
        is_usable = kept is not None and self._clock() < kept.fresh_until and self._process_id == os.getpid()
        return kept.value if kept is not None and is_usable else None

    async def reveal(self, secret: LiveSecret, which: Which) -> bytes:
        """Return the value, from memory or from the daemon. Raises the daemon's refusal."""
        if self._keeping.fresh_seconds <= 0:
            return (await self._access(secret, which)).value
        async with secret.fetching:
            value = self.peek(secret, which)
            return value if value is not None else await self._fetch(secret, which)

    def subscribe(self, secret: LiveSecret, call: Called) -> RotationSubscription:
        """Call `call` at each rotation, which takes a watch. Raises LimitExceeded, ClientClosed."""
        self._source.add(secret.namespace)
        return secret.subscribe(call)

    async def _fetch(self, secret: LiveSecret, which: Which) -> bytes:
        with contextlib.suppress(LimitExceeded):  # then it is the cache's time alone that drops a value
            self._source.add(secret.namespace)
        generation = secret.generation
        try:
            response = await self._access(secret, which)
        except RemoteError as error:
            kept = secret.values.get(which)
            if kept is not None and _is_away(error) and self._clock() < kept.usable_until:
                return self._serve_stale(secret, kept)
            secret.drop()
            raise
        if generation == secret.generation or (which == CURRENT and response.version == secret.version):
            self._keep(secret, which, response)
        return response.value

    async def _access(self, secret: LiveSecret, which: Which) -> secrets_pb2.AccessSecretResponse:
        request = secrets_pb2.AccessSecretRequest(
            namespace=secret.namespace, name=secret.name, version=which.version, label=which.label
        )
        response = await self.remote.call(self.stub.AccessSecret, request)
        if which == CURRENT and not self._source.known(secret.namespace).is_live:
            secret.learn(response.version)
        return response

    def _keep(self, secret: LiveSecret, which: Which, response: secrets_pb2.AccessSecretResponse) -> None:
        now = self._clock()
        longest = self._keeping.longest_seconds
        if response.HasField("expire_time"):
            longest = min(longest, response.expire_time.ToNanoseconds() / 1e9 - time.time())
        secret.values[which] = KeptValue(
            value=response.value,
            version=response.version,
            fetched_at=now,
            fresh_until=now + min(self._keeping.fresh_seconds, longest),
            usable_until=now + longest,
        )
        self._later(max(0.0, longest), lambda: secret.forget(self._clock()))

    def _serve_stale(self, secret: LiveSecret, kept: KeptValue) -> bytes:
        """Give a value that is no longer fresh, and don't ask a daemon that is away again for as long as one is."""
        now = self._clock()
        kept.fresh_until = min(now + self._keeping.fresh_seconds, kept.usable_until)
        log.warning(
            "secrets.stale_value_given secret=%s/%s version=%d age_seconds=%.0f",
            secret.namespace,
            secret.name,
            kept.version,
            now - kept.fetched_at,
        )
        return kept.value


def _is_away(error: RemoteError) -> bool:
    """Tell a daemon that can't be reached from one that refuses, as it does when it can't audit."""
    return isinstance(error, DeadlineExceeded) or (isinstance(error, Unavailable) and error.reason in PASSING_REASONS)
