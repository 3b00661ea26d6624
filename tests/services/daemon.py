"""The services over an engine in memory, called as a transport calls them: by path, with a message."""

from __future__ import annotations

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
from vestryd.domain.store import Store
from vestryd.services.admin import AdminService, Daemon, Problem
from vestryd.services.audit import AuditService
from vestryd.services.call import Call, Peer
from vestryd.services.config import ConfigService
from vestryd.services.config_feed import ConfigPublisher, ConfigSource
from vestryd.services.feed import Feed
from vestryd.services.methods import table
from vestryd.services.pipeline import CallFailed, Pipeline, Route, bind
from vestryd.services.status import Failure
from vestryd.stores.audit_memory import MemoryAuditLog


class Refused(Exception):
    """A call was answered with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason, failure.message)
        self.reason = failure.reason
        self.message = failure.message


@dataclass
class Services:
    """An engine and the services over it."""

    engine: Engine
    feed: Feed
    routes: Mapping[str, Route]
    problems: list[Problem]
    audit: MemoryAuditLog
    auditing: AuditService
    callers: KnownCallers = field(default_factory=KnownCallers)
    door: Door = field(default_factory=Door)

    async def ask(self, method: str, request: Message) -> Any:
        """Call a method of ConfigService, or of AdminService when it has no such; raise Refused when it fails."""
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
) -> AsyncIterator[Services]:
    """Serve what the files say, as the daemon's assembly puts it together."""
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
        audit = MemoryAuditLog(engine.store.store_id, clock=engine.clock)
        admin = AdminService(
            Daemon("1.2.3", "production", engine.clock.now(), scratch),
            store=engine.store,
            configs=engine.configs,
            audit=audit,
            watchers=lambda: feed.watchers,
            listeners=_answer(listeners),
            problems=_answer(problems),
            routes=lambda: routes,
        )
        config = ConfigService(engine.configs, feed, store=engine.store, environment="production")
        auditing = AuditService(audit, heartbeat_seconds=heartbeat_seconds)
        services = [admin, auditing, config]
        ours = {one.service for one in services}
        routes.update(bind({path: one for path, one in table().items() if one.service in ours}, services))
        yield Services(engine, feed, routes, problems, audit, auditing)


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
