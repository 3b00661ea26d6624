"""The services over an engine in memory, called as a transport calls them: by path, with a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.message import Message

from callers import Door, KnownCallers
from engine import Engine, FakeSources, running
from vestry.v1 import config_pb2 as pb
from vestryd.domain.errors import UnlockRefused
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.unlock import Material
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.store import Store
from vestryd.services.admin import AdminService, Daemon, Problem
from vestryd.services.audit import AuditService
from vestryd.services.call import Call, Peer
from vestryd.services.config import ConfigService
from vestryd.services.config_feed import ConfigPublisher, ConfigSource
from vestryd.services.feed import Feed
from vestryd.services.methods import table
from vestryd.services.pipeline import CallFailed, Pipeline, Route, bind
from vestryd.services.seal import SealService
from vestryd.services.secret_feed import SecretPublisher, SecretSource
from vestryd.services.secrets import SecretsService
from vestryd.services.status import Failure
from vestryd.stores.audit_memory import MemoryAuditLog

KEY = Material(SlotKind.KEY_FILE, b"the key of the tests, 32 bytes..", "key file /etc/vestry/unlock.key")


class Refused(Exception):
    """A call was answered with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason, failure.message)
        self.reason = failure.reason
        self.message = failure.message


@dataclass
class FakeUnlockSources:
    """A host whose sources yield what the test says; a file or a credential is known by its path or name."""

    yields: list[Material] = field(default_factory=lambda: [KEY])
    troubles: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def materials(self) -> Sequence[Material]:
        return self.yields

    def problems(self) -> Sequence[str]:
        return self.troubles

    def read_key_file(self, path: str) -> Material:
        return self._read(SlotKind.KEY_FILE, path)

    def read_credential(self, name: str) -> Material:
        return self._read(SlotKind.SYSTEMD_CREDENTIAL, name)

    def _read(self, kind: SlotKind, name: str) -> Material:
        if name not in self.files:
            raise UnlockRefused(f"{name} can't be used: there is no such file")
        return Material(kind, self.files[name], name)


@dataclass
class SecretServices:
    """The secrets behind the services. They are sealed unless `serving` was told otherwise."""

    vault: Vault
    secrets: Secrets
    feed: Feed
    unlock: FakeUnlockSources


@dataclass
class Services:
    """An engine and the services over it. `kept` is what keeps the secrets."""

    engine: Engine
    feed: Feed
    kept: SecretServices
    routes: Mapping[str, Route]
    problems: list[Problem]
    audit: MemoryAuditLog
    auditing: AuditService
    door: Door
    callers: KnownCallers = field(default_factory=KnownCallers)

    async def ask(self, method: str, request: Message) -> Any:
        """Call a method; raise Refused when it fails."""
        route, call, pipeline = self._begin(method)
        answer = pipeline.unary(route, request.SerializeToString(), call)
        reply = await answer if isawaitable(answer) else answer
        if reply.failure:
            raise Refused(reply.failure)
        return route.method.response.FromString(reply.body)

    async def stream(self, method: str, request: Message) -> AsyncGenerator[Any, None]:
        """Call a streaming method; raise Refused when it fails."""
        route, call, pipeline = self._begin(method)
        try:
            async with aclosing(pipeline.stream(route, request.SerializeToString(), call)) as bodies:
                async for body in bodies:
                    yield route.method.response.FromString(body)
        except CallFailed as error:
            raise Refused(error.failure) from error

    async def update(self, patch: bytes, **fields: Any) -> pb.UpdateConfigResponse:
        """Patch the runtime layer."""
        request = pb.UpdateConfigRequest(merge_patch=patch, **fields)
        return cast("pb.UpdateConfigResponse", await self.ask("UpdateConfig", request))

    def _begin(self, method: str) -> tuple[Route, Call, Pipeline]:
        path = next(path for path in self.routes if path.endswith(f"/{method}"))
        pipeline = Pipeline(self.routes, authenticator=self.callers, guard=self.door, default_deadline_seconds=10)
        route = self.routes[path]
        return route, pipeline.begin(route, peer=Peer(), metadata={}, timeout_seconds=None), pipeline


@asynccontextmanager
async def serving(
    store: Store | None = None,
    sources: FakeSources | None = None,
    *,
    scratch: Path = Path("/nonexistent"),
    listeners: Sequence[str] = (),
    heartbeat_seconds: float = 3600,
    materials: Sequence[Material] | None = None,
) -> AsyncIterator[Services]:
    """Serve what the files say, as the daemon's assembly puts it together. With `materials`, the secrets are opened."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running(store, sources))
        await engine.ingestion.reload()
        source = ConfigSource(engine.configs)
        feed = Feed(
            source,
            incarnation=engine.store.incarnation,
            revision=engine.documents.revision,
            heartbeat_seconds=heartbeat_seconds,
            window_events=1000,
            window_bytes=1_000_000,
        )
        publisher = ConfigPublisher(feed, source, engine.configs)
        engine.documents.on_applied = publisher.applied
        engine.ingestion.on_rejected = publisher.rejected
        engine.ingestion.on_reloaded = publisher.reloaded
        problems: list[Problem] = []
        routes: dict[str, Route] = {}
        audit, door = MemoryAuditLog(engine.store.store_id, clock=engine.clock), Door()
        kept = await stack.enter_async_context(_keeping(engine, audit, door, materials, heartbeat_seconds))
        admin = AdminService(
            Daemon("1.2.3", "production", engine.clock.now(), scratch),
            store=engine.store,
            configs=engine.configs,
            audit=audit,
            secrets=lambda: None if kept.vault.is_sealed else kept.secrets.figures(),
            watchers=lambda: feed.watchers,
            listeners=_answer(listeners),
            problems=_answer(problems),
            routes=lambda: routes,
        )
        config = ConfigService(engine.configs, feed, store=engine.store, environment="production", secrets=kept.secrets)
        seal = SealService(kept.vault, kept.secrets, kept.unlock)
        secrets = SecretsService(kept.secrets, kept.vault, kept.feed, store=engine.store, clock=engine.clock)
        auditing = AuditService(audit, heartbeat_seconds=heartbeat_seconds)
        services: list[Any] = [admin, auditing, config, seal, secrets]
        ours = {one.service for one in services}
        routes.update(bind({path: one for path, one in table().items() if one.service in ours}, services))
        yield Services(engine, feed, kept, routes, problems, audit, auditing, door)


@asynccontextmanager
async def _keeping(
    engine: Engine,
    audit: MemoryAuditLog,
    door: Door,
    materials: Sequence[Material] | None,
    heartbeat_seconds: float,
) -> AsyncIterator[SecretServices]:
    """Keep secrets over an engine's store."""
    vault = Vault(engine.store, door, audit, engine.clock)
    secrets = Secrets(vault, engine.store, door, audit, engine.clock)
    if materials is not None:
        await secrets.open(materials)
    source = SecretSource(secrets, engine.clock)
    feed = Feed(
        source,
        incarnation=engine.store.incarnation,
        revision=secrets.revision,
        heartbeat_seconds=heartbeat_seconds,
        window_events=1000,
        window_bytes=1_000_000,
    )
    SecretPublisher(feed, source, secrets, vault)
    follower = asyncio.create_task(secrets.follow())
    try:
        yield SecretServices(vault, secrets, feed, FakeUnlockSources())
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def reason_of(services: Services, method: str, request: Any) -> str:
    """Return the reason for which a call is refused."""
    with pytest.raises(Refused) as caught:
        await services.ask(method, request)
    return caught.value.reason


def sources(**files: Any) -> FakeSources:
    """Return the files of the namespace `default`."""
    made = FakeSources()
    made.write("default", **files)
    return made


def _answer(items: Any) -> Callable[[], Any]:
    return lambda: items
