"""A server with TLS on a real wire, and its files."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from authority import Authority, Issued, replace
from engine import FakeClock
from vestryd.domain.errors import CredentialsInvalid
from vestryd.host.clock import SystemClock
from vestryd.transports.tls import ServerTls

AUTHORITY = Authority()
SERVER = AUTHORITY.server()
CLIENT = AUTHORITY.issue("web")
ADDRESS = ip_address("127.0.0.1")
PATIENCE_SECONDS = 10.0


@dataclass
class Place:
    """A directory with the server's files, and the server's TLS."""

    directory: Path
    server: Issued = SERVER
    crl: Path | None = None
    port: int = 0
    tls: ServerTls = field(init=False)

    def __post_init__(self) -> None:
        self.certificate, self.key = self.server.write(self.directory, "server")
        self.client_ca = replace(self.directory / "ca.pem", AUTHORITY.root.pem)

    def open(self, *, client_ca: bool = True, clock: FakeClock | None = None) -> ServerTls:
        self.tls = ServerTls(
            self.certificate,
            self.key,
            client_ca=self.client_ca if client_ca else None,
            crl=self.crl,
            clock=clock or SystemClock(),
        )
        return self.tls

    def rotate(self) -> Issued:
        """Put a new certificate and key in the place of the old ones."""
        issued = AUTHORITY.server()
        issued.write(self.directory, "server")
        return issued


class WhoAmI(grpc.GenericRpcHandler):
    """Answers each call with the caller's name, as the daemon's transport finds it out."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        if self._tls.certificates is None:
            return b"anonymous"
        (pem,) = context.auth_context()["x509_pem_cert"]
        try:
            return self._tls.certificates.caller(pem, ADDRESS).name.encode()
        except CredentialsInvalid as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))


@asynccontextmanager
async def serving(place: Place, *, client_ca: bool = True) -> AsyncIterator[Place]:
    tls = place.open(client_ca=client_ca)
    server = aio.server()
    server.add_generic_rpc_handlers((WhoAmI(tls),))
    place.port = server.add_secure_port("127.0.0.1:0", tls.credentials())
    await server.start()
    try:
        yield place
    finally:
        await server.stop(0)


def channel(place: Place, client: Issued | None = CLIENT, *, ca: Authority = AUTHORITY) -> aio.Channel:
    pair = (client.key_pem, client.pem) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.root.pem, *pair)
    return aio.secure_channel(f"localhost:{place.port}", credentials, options=[("grpc.enable_http_proxy", 0)])


async def ask(connection: aio.Channel) -> str:
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = connection.unary_unary("/test/WhoAmI")
    return (await method(b"", timeout=PATIENCE_SECONDS)).decode()


async def answer(place: Place, client: Issued | None = CLIENT, *, ca: Authority = AUTHORITY) -> str:
    """Return what a new connection is answered: the caller's name, or the code of the failure."""
    async with channel(place, client, ca=ca) as connection:
        try:
            return await ask(connection)
        except aio.AioRpcError as error:
            return error.code().name


async def shown_by(place: Place) -> bytes:
    """Return the certificate that the server shows in a new handshake, in DER."""
    return (await asyncio.to_thread(shake_hands, place.port))[1]


def shake_hands(port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, bytes]:
    """Connect with this version of TLS, and return what was agreed on and the server's certificate in DER."""
    context = ssl.create_default_context(cadata=AUTHORITY.root.pem.decode())
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.version() or "", secure.getpeercert(binary_form=True) or b""
