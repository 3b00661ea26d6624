"""The pipeline on public grpc.aio.

Messages cross as bytes: the pipeline parses and serializes, so that malformed ones are told in our own words, and an event
that was encoded once is sent as it is to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import isawaitable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

from vestryd.domain.errors import AddressUnusable
from vestryd.services.call import Call, Peer
from vestryd.services.methods import Kind
from vestryd.services.pipeline import CallFailed, Pipeline, Route
from vestryd.services.status import Failure
from vestryd.transports.aio_standard import StandardServices
from vestryd.transports.tls import ServerTls
from vestryd.transports.unix_sockets import MAX_PATH_BYTES, check_free, guard

RpcContext = aio.ServicerContext[Any, Any]
PeerOf = Callable[[RpcContext], Peer]

STATUS_DETAILS = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}
REPLY_BYTES = 8 * 1024 * 1024  # a version with its layers and its effective document is at most 2 MiB of JSON
CUT_OFF_SECONDS = 0.25  # for the calls that are cut off to end here

OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a silent share of somebody else's calls
    ("grpc.max_send_message_length", REPLY_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # clients look for a dead daemon every 10 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),  # and the daemon for dead clients
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A unix socket to listen on: its path, its mode, and its group (empty: the daemon's own)."""

    path: Path
    mode: int
    group: str


class AioServer:
    """Serves the pipeline, standard health and reflection, from `start` until `stop`."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        unix: UnixSocket | None,
        tcp: str,
        max_request_bytes: int,
        tls: ServerTls | None = None,
    ) -> None:
        self.listeners: list[str] = []  # what it listens on, as gRPC targets
        self._pipeline = pipeline
        self._unix = unix
        self._tcp = tcp
        self._tls = tls
        self._has_socket = False
        self._server = aio.server(options=(*OPTIONS, ("grpc.max_receive_message_length", max_request_bytes)))
        peer_of = _tls_peer_of if tls else _peer_of
        self._server.add_generic_rpc_handlers((_Handlers(pipeline, peer_of),))
        services = sorted({route.method.service for route in pipeline.routes.values()})
        self._standard = StandardServices(self._server, services, is_known=partial(_is_known, pipeline, peer_of))

    async def start(self) -> None:
        """Listen. Standard health says NOT_SERVING until `ready`. Raises AddressUnusable."""
        if self._unix:
            check_free(self._unix.path)  # grpcio would take it over without a word
            self._bind(f"unix:{self._unix.path}")
            self._has_socket = True
            self.listeners.append(f"unix:{self._unix.path}")
        if self._tcp:
            port = self._bind(self._tcp, self._tls)
            self.listeners.append(f"{self._tcp.rpartition(':')[0]}:{port}")
        await self._server.start()
        if self._unix:
            guard(self._unix.path, mode=self._unix.mode, group=self._unix.group)  # grpcio makes it 0755

    def ready(self) -> None:
        """Let standard health say SERVING."""
        self._standard.serving()

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, let those under way end for so long, then cut them off."""
        self._standard.stopping()
        # gRPC cuts the calls off, and then waits until a peer that doesn't read has taken what was sent to it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds + CUT_OFF_SECONDS):
                await self._server.stop(grace_seconds)
        if self._unix and self._has_socket:  # what was there before us is not ours
            self._unix.path.unlink(missing_ok=True)

    def _bind(self, address: str, tls: ServerTls | None = None) -> int:
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, tls.credentials())
        except RuntimeError as error:  # grpcio's words don't say why
            raise AddressUnusable(address, _why_not(address)) from error
        if not port:
            raise AddressUnusable(address, _why_not(address))
        return port


class _Handlers(grpc.GenericRpcHandler):
    """Finds the route of a call by its path; for an unknown one gRPC answers UNIMPLEMENTED by itself."""

    def __init__(self, pipeline: Pipeline, peer_of: PeerOf) -> None:
        self._handlers = {path: _handler(pipeline, route, peer_of) for path, route in pipeline.routes.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def _handler(pipeline: Pipeline, route: Route, peer_of: PeerOf) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def unary(data: bytes, context: RpcContext) -> bytes:
        call = _begin(pipeline, route, peer_of(context), context)
        reply = pipeline.unary(route, data, call)
        if isawaitable(reply):
            reply = await reply
        _send_trailing(context, call, reply.failure)
        if reply.failure:
            await context.abort(CODES[reply.failure.code], reply.failure.message)
        return reply.body

    async def stream(data: bytes, context: RpcContext) -> None:
        call = _begin(pipeline, route, peer_of(context), context)
        try:
            async with contextlib.aclosing(pipeline.stream(route, data, call)) as bodies:
                await _write_all(bodies, context)
        except aio.InternalError:
            return  # the peer went away while we wrote: nobody is left to be told
        except CallFailed as error:
            await _abort_stream(context, call, error)
        except asyncio.CancelledError:
            ended = pipeline.cut_off(route, call)
            if ended is None:
                raise
            await _abort_stream(context, call, ended)
        _send_trailing(context, call, None)

    if route.method.kind is Kind.STREAM:
        return grpc.unary_stream_rpc_method_handler(stream)
    return grpc.unary_unary_rpc_method_handler(unary)


async def _abort_stream(context: RpcContext, call: Call, error: CallFailed) -> None:
    _send_trailing(context, call, error.failure)
    await context.abort(CODES[error.failure.code], error.failure.message)


async def _write_all(bodies: AsyncIterator[bytes], context: RpcContext) -> None:
    async for body in bodies:
        await context.write(body)  # returns once the peer's window took it: that is the backpressure


def _begin(pipeline: Pipeline, route: Route, peer: Peer, context: RpcContext) -> Call:
    return pipeline.begin(
        route,
        peer=peer,
        metadata=_metadata(context),
        timeout_seconds=context.time_remaining(),
    )


async def _is_known(pipeline: Pipeline, peer_of: PeerOf, context: RpcContext) -> bool:
    return await pipeline.knows(peer_of(context), _metadata(context))


def _metadata(context: RpcContext) -> dict[str, str | bytes]:
    """Return the caller's metadata; texts of the same name as one, as HTTP has it: of two credentials none is chosen."""
    pairs = tuple(context.invocation_metadata() or ())
    found: dict[str, str | bytes] = dict(pairs)
    if len(found) < len(pairs):
        for name in found:
            if texts := [value for key, value in pairs if key == name and isinstance(value, str)]:
                found[name] = ", ".join(texts)
    return found


def _peer_of(context: RpcContext) -> Peer:
    return _peer(context.peer())


def _tls_peer_of(context: RpcContext) -> Peer:
    certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")  # takes some microseconds
    return _peer(context.peer(), certificate)


@lru_cache(maxsize=1024)  # asked at each call, and a peer makes many
def _peer(name: str, certificate: bytes = b"") -> Peer:
    """Return what gRPC knows of the other end. It percent-encodes the brackets of an IPv6 address."""
    if name.startswith("unix"):
        return Peer(None, certificate)
    host = unquote(name).partition(":")[2].rpartition(":")[0]  # without scheme and port
    return Peer(ip_address(host.strip("[]").partition("%")[0]), certificate)


def _send_trailing(context: RpcContext, call: Call, failure: Failure | None) -> None:
    details = [(STATUS_DETAILS, failure.details)] if failure else []
    context.set_trailing_metadata((*call.trailing, *details))


def _why_not(address: str) -> str:
    """Find out why grpcio could not bind an address, by trying it."""
    if address.startswith("unix:"):
        return _why_no_socket(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return error.strerror or str(error)
    return "grpcio could not bind it"


def _why_no_socket(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the directory {path.parent} doesn't exist"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        return f"the path is longer than {MAX_PATH_BYTES} bytes"
    if not os.access(path.parent, os.W_OK):
        return f"the directory {path.parent} can't be written to"
    return "grpcio could not bind it"
