"""How a token gets onto each call: interceptors for channels of grpc and grpc.aio.

gRPC's own call credentials need a secure channel, which the daemon's unix socket is not.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from vestry.credentials import Credentials
from vestry.errors import from_rpc_error

HEADER: Final = "authorization"
RENEWABLE: Final = ("CREDENTIALS_INVALID", "CREDENTIALS_MISSING")  # reasons for which another token may help

_Details = grpc.ClientCallDetails
_AsyncDetails = grpc.aio.ClientCallDetails
_Continuation = Callable[[Any, Any], Any]
_AsyncContinuation = Callable[[Any, Any], Awaitable[Any]]


def intercept(channel: grpc.Channel, credentials: Credentials | None) -> grpc.Channel:
    """Return a channel whose calls bring a token."""
    return channel if credentials is None else grpc.intercept_channel(channel, _Bearer(credentials))


def interceptors(credentials: Credentials | None) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes the calls of an asyncio channel bring a token."""
    return [] if credentials is None else [_AsyncUnaryBearer(credentials), _AsyncStreamBearer(credentials)]


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends a token along; a unary call whose token is refused is made once more, if there is another token."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def intercept_unary_unary(self, continuation: _Continuation, client_call_details: _Details, request: Any) -> Any:
        """Make the call."""
        limit = _Limit(client_call_details.timeout)
        token = self._credentials.token(timeout_seconds=limit.left())
        call = continuation(_Authorized.of(client_call_details, token, limit), request)
        if not call.done() or not _is_refused(call) or not self._credentials.renew(token):
            return call
        another = self._credentials.token(timeout_seconds=limit.left())
        return call if another == token else continuation(_Authorized.of(client_call_details, another, limit), request)

    def intercept_unary_stream(self, continuation: _Continuation, client_call_details: _Details, request: Any) -> Any:
        """Open the stream. When its token turns out to be no good, the next one gets another."""
        limit = _Limit(client_call_details.timeout)
        token = self._credentials.token(timeout_seconds=limit.left())
        call = continuation(_Authorized.of(client_call_details, token, limit), request)
        call.add_done_callback(lambda ended: _is_refused(ended) and self._credentials.renew(token))
        return call


class _AsyncUnaryBearer(grpc.aio.UnaryUnaryClientInterceptor):
    """Does for unary calls of asyncio what _Bearer does."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def intercept_unary_unary(
        self, continuation: _AsyncContinuation, client_call_details: _AsyncDetails, request: Any
    ) -> Any:
        """Make the call."""
        limit = _Limit(client_call_details.timeout)
        token = await self._credentials.token_async(timeout_seconds=limit.left())
        call = await continuation(_authorized(client_call_details, token, limit), request)
        try:
            await call  # not its code: to be cancelled in here must cancel the call
        except grpc.aio.AioRpcError as error:
            if from_rpc_error(error).reason not in RENEWABLE or not self._credentials.renew(token):
                return call
        else:
            return call
        another = await self._credentials.token_async(timeout_seconds=limit.left())
        return (
            call if another == token else await continuation(_authorized(client_call_details, another, limit), request)
        )


class _AsyncStreamBearer(grpc.aio.UnaryStreamClientInterceptor):
    """Does for streams of asyncio what _Bearer does."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def intercept_unary_stream(
        self, continuation: _AsyncContinuation, client_call_details: _AsyncDetails, request: Any
    ) -> Any:
        """Open the stream."""
        limit = _Limit(client_call_details.timeout)
        token = await self._credentials.token_async(timeout_seconds=limit.left())
        return await continuation(_authorized(client_call_details, token, limit), request)


class _Limit:
    """What is left of the time that a caller allows a call; None: as long as it takes."""

    __slots__ = ("_deadline",)

    def __init__(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


@dataclass(frozen=True)
class _Authorized(grpc.ClientCallDetails):
    """The details of a call that brings a token."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None

    @classmethod
    def of(cls, details: grpc.ClientCallDetails, token: str, limit: _Limit) -> grpc.ClientCallDetails:
        metadata = tuple(details.metadata or ())
        if token and not _has_header(metadata):
            metadata = (*metadata, _header(token))
        return cls(
            details.method,
            limit.left(),
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )


def _authorized(details: _AsyncDetails, token: str, limit: _Limit) -> _AsyncDetails:
    """Return the details of an asyncio call that brings a token."""
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    if token and not _has_header(metadata):
        metadata.add(*_header(token))
    return grpc.aio.ClientCallDetails(
        details.method, limit.left(), metadata, details.credentials, details.wait_for_ready
    )


def _has_header(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Tell whether the caller brings a credential of its own, which is then the one that counts."""
    return any(key == HEADER for key, _ in metadata)


def _header(token: str) -> tuple[str, str]:
    return HEADER, f"Bearer {token}"


def _is_refused(call: Any) -> bool:
    """Tell whether a call that is over failed for want of a good token."""
    return call.code() is grpc.StatusCode.UNAUTHENTICATED and from_rpc_error(call).reason in RENEWABLE
