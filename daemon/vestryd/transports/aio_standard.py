"""The services that every gRPC server is expected to have: grpc.health.v1 and reflection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

WHOLE_SERVER = ""


class StandardServices:
    """Standard health for the whole server and for each service, and reflection. NOT_SERVING until `serving`."""

    def __init__(self, server: aio.Server, services: Sequence[str]) -> None:
        self._services = (WHOLE_SERVER, *services)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined] # it is public, and not in __all__
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # type: ignore[no-untyped-call]
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)  # type: ignore[no-untyped-call]

    async def starting(self) -> None:
        """Say NOT_SERVING: the library's own default is SERVING."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def serving(self) -> None:
        """Say SERVING."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """Say NOT_SERVING, for good."""
        await self._health.enter_graceful_shutdown()

    async def _set(self, status: Any) -> None:
        for service in self._services:
            await self._health.set(service, status)
