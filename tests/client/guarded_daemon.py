"""A fake daemon that wants to know who calls, and its auth socket."""

# ruff: noqa: N802 - the proto names the methods

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from client.fake_daemon import FakeDaemon
from client.fake_errors import RpcContext, abort
from vestry.auth_socket import path_beside
from vestry.v1 import common_pb2, config_pb2


@dataclass
class GuardedDaemon(FakeDaemon):
    """Takes calls that bring one of `good`. `seen` has what each call brought, `end` ends the watches of a token."""

    good: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    away: int = 0  # how many unary calls to answer with UNAVAILABLE
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._ended = asyncio.Event()

    def end(self, token: str) -> None:
        """End the watches, as when the token that opened them ends."""
        self.good.discard(token)
        self._ended.set()

    async def WatchConfig(
        self, request: config_pb2.WatchConfigRequest, context: RpcContext
    ) -> AsyncIterator[config_pb2.WatchConfigResponse]:
        """Watch, until `end`."""
        await self._admit(context)
        stream = super().WatchConfig(request, context)
        ended = asyncio.ensure_future(self._ended.wait())
        step: asyncio.Future[Any] = asyncio.ensure_future(anext(stream, None))
        try:
            while True:
                await asyncio.wait({ended, step}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    break
                if (message := await step) is None:
                    return
                yield message
                step = asyncio.ensure_future(anext(stream, None))
        finally:
            ended.cancel()
            step.cancel()
        self._ended.clear()
        reason = common_pb2.WATCH_END_REASON_CREDENTIALS_ENDED
        yield config_pb2.WatchConfigResponse(end=common_pb2.WatchEnd(reason=reason, message="the token has ended"))
        await abort(context, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")

    async def GetConfigStatus(
        self, request: config_pb2.GetConfigStatusRequest, context: RpcContext
    ) -> config_pb2.GetConfigStatusResponse:
        """Tell the version."""
        await self._admit(context)
        try:
            return await super().GetConfigStatus(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _admit(self, context: RpcContext) -> None:
        header = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
        self.seen.append(header)
        if self.away:
            self.away -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away for a moment")
        if not header:
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_MISSING")
        if header.removeprefix("Bearer ") not in self.good:
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


@dataclass
class FakeAuthSocket:
    """Gives `vestryl_1`, `vestryl_2`, …, all of which `daemon` takes; or says `answer`, or nothing while it hangs."""

    target: str
    daemon: GuardedDaemon | None = None
    seconds: float = 600
    answer: bytes | None = None
    is_hanging: bool = False
    given: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client."""
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        if self.is_hanging:
            await reader.read()  # until the client goes away
        elif self.answer is not None:
            writer.write(self.answer)
        else:
            self.given += 1
            token = f"vestryl_{self.given}"
            if self.daemon:
                self.daemon.good.add(token)
            line = {"caller": "user:me", "expires_in_seconds": self.seconds, "token": token}
            writer.write(json.dumps(line).encode() + b"\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def auth_socket(
    target: str, daemon: GuardedDaemon | None = None, **options: Any
) -> AsyncIterator[FakeAuthSocket]:
    """Serve beside a daemon's socket."""
    fake = FakeAuthSocket(target, daemon, **options)
    server = await asyncio.start_unix_server(fake.serve, path_beside(target))
    async with server:
        yield fake
    if fake.tasks:
        await asyncio.wait(fake.tasks)
