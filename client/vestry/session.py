"""What an open client holds: its channel, its watches and its caches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from vestry.backoff import ReconnectPolicy
from vestry.cache import Cache, CachedCopy, CacheWriter
from vestry.channel import connect_async
from vestry.config_watching import ConfigWatch
from vestry.credentials import Credentials
from vestry.errors import Unavailable
from vestry.live import LiveConfig
from vestry.remote import Remote
from vestry.secret_cache import Keeping, SecretCache
from vestry.secret_watching import SecretWatch
from vestry.snapshot import Snapshot
from vestry.tls import Tls
from vestry.v1 import (
    access_pb2_grpc,
    admin_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    seal_pb2_grpc,
    secrets_pb2_grpc,
    tokens_pb2_grpc,
)


@dataclass(frozen=True, slots=True)
class Stubs:
    """The generated stubs, on a client's own channel, for what no view offers.

    Give each call a `timeout`; what it raises goes through errors.from_rpc_error.
    """

    config: config_pb2_grpc.ConfigServiceAsyncStub
    admin: admin_pb2_grpc.AdminServiceAsyncStub
    access: access_pb2_grpc.AccessServiceAsyncStub
    tokens: tokens_pb2_grpc.TokenServiceAsyncStub
    secrets: secrets_pb2_grpc.SecretsServiceAsyncStub
    seal: seal_pb2_grpc.SealServiceAsyncStub


class Session:
    """The open side of one AsyncClient. Lives from the client's first use to `close`, in one event loop and process."""

    def __init__(
        self,
        *,
        target: str,
        credentials: Credentials | None,
        tls: Tls | None,
        timeout_seconds: float,
        policy: ReconnectPolicy,
        cache: Cache | None,
        keeping: Keeping,
        check: Callable[[], None],
    ) -> None:
        self.process_id = os.getpid()
        self.loop = asyncio.get_running_loop()
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._channel = connect_async(target, tls=tls, credentials=credentials)
        self.stubs = Stubs(
            config=config_pb2_grpc.ConfigServiceStub(self._channel),
            admin=admin_pb2_grpc.AdminServiceStub(self._channel),
            access=access_pb2_grpc.AccessServiceStub(self._channel),
            tokens=tokens_pb2_grpc.TokenServiceStub(self._channel),
            secrets=secrets_pb2_grpc.SecretsServiceStub(self._channel),
            seal=seal_pb2_grpc.SealServiceStub(self._channel),
        )
        self.remote = Remote(
            self.stubs.config, target=target, timeout_seconds=timeout_seconds, policy=policy, check=check
        )
        self._cache = cache
        self._copies: dict[str, CachedCopy] = {}  # namespace -> its copy from disk, while it may be needed
        self._writer = CacheWriter(cache) if cache is not None else None
        self._writing = self.loop.create_task(self._writer.run()) if self._writer is not None else None
        self._config_watch = ConfigWatch(
            self.remote,
            target=target,
            policy=policy,
            credentials=credentials,
            on_update=self._save,
            on_loss=self._restore,
        )
        self._following_config = self.loop.create_task(self._config_watch.run())
        self._secret_watch = SecretWatch(self.stubs.secrets, target=target, policy=policy, credentials=credentials)
        self._following_secrets = self.loop.create_task(self._secret_watch.run())
        self.secrets = SecretCache(
            self._secret_watch, self.stubs.secrets, self.remote, keeping=keeping, later=self.loop.call_later
        )

    async def follow(self, namespace: str) -> LiveConfig:
        """Watch `namespace` and return it once it has a state. Raises Unavailable, or the daemon's refusal."""
        if self._cache is not None and namespace not in self._copies:
            copy = await asyncio.to_thread(self._cache.load, namespace)
            if copy is not None:
                self._copies[namespace] = copy
        live = self._config_watch.add(namespace)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await live.first_state()
        except TimeoutError:
            self._restore(live)
            if not live.has_state:
                raise self._unavailable(live) from live.error
        return live

    async def close(self) -> None:
        """End everything that the session runs, and save what is not saved yet."""
        self._config_watch.end()
        self._secret_watch.end()
        self._following_config.cancel()
        self._following_secrets.cancel()
        if self._writer is not None and self._writing is not None:
            self._writer.stop()
            await asyncio.wait([self._writing])
        await asyncio.wait([self._following_config, self._following_secrets])
        await self._secret_watch.ended()
        await self._channel.close()

    def _save(self, update: config_pb2.ConfigUpdate) -> None:
        self._copies.pop(update.namespace, None)
        if self._writer is not None:
            self._writer.put(update)

    def _restore(self, live: LiveConfig) -> None:
        """Fall back on the copy from disk, if there is one and nothing better is known."""
        copy = self._copies.get(live.namespace)
        if copy is not None:
            live.restore(Snapshot.from_update(copy.update), age_seconds=copy.age_seconds)

    def _unavailable(self, live: LiveConfig) -> Unavailable:
        cause = live.error or f"vestryd at {self._target} doesn't answer: check how it does (systemctl status vestryd)"
        return Unavailable(f"config {live.namespace!r} has no state after {self._timeout_seconds:g} s: {cause}")
