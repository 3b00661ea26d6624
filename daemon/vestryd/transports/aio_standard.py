"""The services that every gRPC server is expected to have: grpc.health.v1 for everybody, reflection for known callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

RpcContext = aio.ServicerContext[Any, Any]

WHOLE_SERVER = ""
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class StandardServices:
    """Standard health for the whole server and for each service, and reflection. NOT_SERVING until `serving`."""

    def __init__(
        self, server: aio.Server, services: Sequence[str], *, is_known: Callable[[RpcContext], Awaitable[bool]]
    ) -> None:
        self._health = Health((WHOLE_SERVER, *services))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # type: ignore[no-untyped-call]
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        guarded = Reflection(names, is_known)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(guarded, server)  # type: ignore[no-untyped-call]

    def serving(self) -> None:
        """Say SERVING."""
        self._health.change(SERVING)

    def stopping(self) -> None:
        """Say NOT_SERVING, and end the watches."""
        self._health.end()


class Reflection(reflection_pb2_grpc.ServerReflectionServicer):
    """grpc.reflection.v1alpha for known callers: the library's answers, behind our door."""

    def __init__(self, services: Sequence[str], is_known: Callable[[RpcContext], Awaitable[bool]]) -> None:
        self._answers = reflection.ReflectionServicer(services)  # type: ignore[no-untyped-call]
        self._is_known = is_known

    async def ServerReflectionInfo(  # noqa: N802 - the proto's name
        self, requests: AsyncIterator[Any], context: RpcContext
    ) -> AsyncIterator[Any]:
        """Answer each request in turn."""
        if not await self._is_known(context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "reflection is for callers with credentials")
        async for request in requests:
            for answer in self._answers.ServerReflectionInfo(iter([request]), context):  # type: ignore[no-untyped-call]
                yield answer


class Health(health_pb2_grpc.HealthServicer):
    """grpc.health.v1, with one status for all services. Lives as long as its server.

    The library's own servicer writes to a watcher with the lock held that every change needs, so a watcher that doesn't
    read keeps the server from stopping; its watches never end; and it lacks List (grpcio-health-checking 1.85.1).
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._services = frozenset(services)
        self._status: Any = NOT_SERVING
        self._is_ended = False
        self._news = asyncio.Event()  # replaced at each change

    def change(self, status: Any) -> None:
        """Let every service have `status`."""
        self._status = status
        news, self._news = self._news, asyncio.Event()
        news.set()

    def end(self) -> None:
        """Say NOT_SERVING, and end each watch once it has heard that."""
        self._is_ended = True
        self.change(NOT_SERVING)

    async def Check(self, request: Any, context: RpcContext) -> Any:  # noqa: N802 - the proto's name
        """Answer the status of a service; NOT_FOUND for one that is not here."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def List(self, _request: Any, _context: RpcContext) -> Any:  # noqa: N802 - the proto's name
        """Answer the status of every service."""
        answer = health_pb2.HealthCheckResponse(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, answer))

    async def Watch(self, request: Any, context: RpcContext) -> None:  # noqa: N802 - the proto's name
        """Send the status of a service now, and whenever it changes; SERVICE_UNKNOWN for one that is not here."""
        told = None
        while True:
            news = self._news  # taken before the status is read, so that no change is missed
            status = self._status if request.service in self._services else SERVICE_UNKNOWN
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            elif self._is_ended:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is shutting down: connect again")
            else:
                await news.wait()
