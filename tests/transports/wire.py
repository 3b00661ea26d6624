"""A small pipeline on a real wire, for the transports' tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import aio

from callers import Door, KnownCallers
from vestry.v1 import config_pb2 as pb
from vestryd.services.call import Call
from vestryd.services.figures import Figures
from vestryd.services.methods import table
from vestryd.services.pipeline import Pipeline, Route
from vestryd.transports.aio import AioServer, UnixSocket

GET = "/vestry.v1.ConfigService/GetConfig"
UPDATE = "/vestry.v1.ConfigService/UpdateConfig"
WATCH = "/vestry.v1.ConfigService/WatchConfig"
MAX_REQUEST_BYTES = 64 * 1024
PATIENCE_SECONDS = 10.0


@dataclass
class Handlers:
    """The service: each method does what its test put there."""

    calls: list[Call] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0

    def get(self, request: pb.GetConfigRequest, call: Call) -> pb.GetConfigResponse:
        """Answer at once, with the namespace."""
        self.calls.append(call)
        call.trailing.append(("x-answer", "yes"))
        return pb.GetConfigResponse(namespace=request.namespace)

    async def update(self, _request: pb.UpdateConfigRequest, call: Call) -> pb.UpdateConfigResponse:
        """Answer once told to go."""
        self.calls.append(call)
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return pb.UpdateConfigResponse(version=7)

    async def watch(self, request: pb.WatchConfigRequest, _call: Call) -> AsyncIterator[bytes]:
        """Say the same for ever, 64 KiB at a time, or once when told so."""
        body = pb.WatchConfigResponse(update=pb.ConfigUpdate(document=b"x" * 65536)).SerializeToString()
        try:
            while True:
                self.started.set()
                yield body
                self.written += 1
                if request.resume_token == "once":
                    await self.go.wait()
                    return
        finally:
            self.cancelled.set()


@dataclass
class Served:
    """A server that is up."""

    server: AioServer
    handlers: Handlers
    routes: Mapping[str, Route]
    callers: KnownCallers

    def channel(self) -> aio.Channel:
        """Return a channel to the first listener, whose windows stay as small as they begin."""
        return aio.insecure_channel(self.server.listeners[0], options=[("grpc.http2.bdp_probe", 0)])


def server_of(
    handlers: Handlers, *, unix: UnixSocket | None = None, tcp: str = "", callers: KnownCallers | None = None
) -> tuple[AioServer, Pipeline]:
    """Return a server of three methods, which doesn't listen yet, and its pipeline."""
    methods = table()
    found: dict[str, Any] = {GET: handlers.get, UPDATE: handlers.update, WATCH: handlers.watch}
    routes = {path: Route(methods[path], handler) for path, handler in found.items()}
    pipeline = Pipeline(
        routes, authenticator=callers or KnownCallers(), guard=Door(), default_deadline_seconds=PATIENCE_SECONDS
    )
    return AioServer(pipeline, unix=unix, tcp=tcp, max_request_bytes=MAX_REQUEST_BYTES), pipeline


@asynccontextmanager
async def serving(*, unix: UnixSocket | None = None, tcp: str = "127.0.0.1:0") -> AsyncIterator[Served]:
    """Serve until the block ends."""
    handlers, callers = Handlers(), KnownCallers()
    server, pipeline = server_of(handlers, unix=unix, tcp=tcp, callers=callers)
    await server.start()
    looking = asyncio.create_task(pipeline.live.run())
    try:
        server.ready()
        yield Served(server, handlers, pipeline.routes, callers)
    finally:
        handlers.go.set()
        await server.stop(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def unary(channel: aio.Channel, path: str, data: bytes, **options: Any) -> aio.UnaryUnaryCall[bytes, bytes]:
    """Begin a unary call."""
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method(data, **options)


def stream(channel: aio.Channel, path: str, data: bytes) -> aio.UnaryStreamCall[bytes, bytes]:
    """Begin a stream."""
    method: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
    return method(data)


async def failure_of(call: Awaitable[Any]) -> aio.AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def eventually(event: asyncio.Event) -> None:
    """Wait for an event, for so long."""
    await asyncio.wait_for(event.wait(), PATIENCE_SECONDS)


async def until_idle(figures: Figures) -> None:
    """Wait until no call is in flight, for so long."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while figures.in_flight:  # noqa: ASYNC110 - figures tell nobody when they change
            await asyncio.sleep(0.01)
