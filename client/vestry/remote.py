"""Unary calls to the daemon: a deadline on each, errors translated, writes repeated where that is safe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

import grpc
import grpc.aio

from vestry.backoff import ReconnectPolicy
from vestry.errors import ClientClosed, Unavailable, from_rpc_error
from vestry.v1 import config_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")

_MAX_ATTEMPTS: Final = 4
PASSING_REASONS: Final = ("", "SHUTTING_DOWN")  # of Unavailable: gone in a moment; a full disk is not


class Remote:
    """Makes the calls of one client. `check` raises when the client can't be used here and now."""

    def __init__(
        self,
        stub: config_pb2_grpc.ConfigServiceAsyncStub,
        *,
        target: str,
        timeout_seconds: float,
        policy: ReconnectPolicy,
        check: Callable[[], None],
    ) -> None:
        self.stub = stub
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._policy = policy
        self._check = check

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make one call. Raises the errors of vestry.errors; reads are repeated by gRPC itself (vestry.channel)."""
        return await self._attempt(method, request, self._timeout_seconds)

    async def write(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make one call whose request carries a request_id, and repeat it while the daemon is away for a moment."""
        deadline = time.monotonic() + self._timeout_seconds
        for failures in range(1, _MAX_ATTEMPTS):
            try:
                return await self._attempt(method, request, deadline - time.monotonic())
            except Unavailable as error:
                delay = self._policy.delay_seconds(failures)
                if error.reason not in PASSING_REASONS or time.monotonic() + delay >= deadline:
                    raise
                await asyncio.sleep(delay)
        return await self._attempt(method, request, deadline - time.monotonic())

    async def _attempt(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout_seconds: float,
    ) -> Response:
        self._check()
        try:
            return await method(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClientClosed from None  # nobody cancelled the caller: its channel was closed under it
