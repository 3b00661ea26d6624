"""The daemon, as commands see it: its stubs, and calls with a deadline whose errors are the library's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc

from vestry.channel import connect, resolve_target
from vestry.errors import from_rpc_error
from vestry.v1 import (
    access_pb2_grpc,
    admin_pb2_grpc,
    audit_pb2_grpc,
    config_pb2_grpc,
    seal_pb2_grpc,
    secrets_pb2_grpc,
    tokens_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Request = TypeVar("Request")
Response = TypeVar("Response")


class _Paged(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


Paged = TypeVar("Paged", bound=_Paged)
Page = TypeVar("Page", bound=_Page)


class Daemon:
    """A channel to one vestryd. It lives for one run of the program, and connects when it is first used."""

    def __init__(self, address: str | None, *, timeout_seconds: float, token_file: Path | None = None) -> None:
        """Raises InvalidTarget, TlsUnusable, CredentialsUnusable."""
        self.address = resolve_target(address)
        self._timeout_seconds = timeout_seconds
        self._channel = connect(self.address, token=token_file)
        self.config = config_pb2_grpc.ConfigServiceStub(self._channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self._channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self.access = access_pb2_grpc.AccessServiceStub(self._channel)
        self.tokens = tokens_pb2_grpc.TokenServiceStub(self._channel)
        self.secrets = secrets_pb2_grpc.SecretsServiceStub(self._channel)
        self.seal = seal_pb2_grpc.SealServiceStub(self._channel)

    def call(self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make one call. Raises the errors of vestry.errors."""
        try:
            return method(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self.address) from error

    def pages(self, method: grpc.UnaryUnaryMultiCallable[Paged, Page], request: Paged) -> Iterator[Page]:
        """Make a call for each page of a list, from the one that `request` asks for to the last. Raises as `call`."""
        while True:
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def stream(self, method: grpc.UnaryStreamMultiCallable[Request, Response], request: Request) -> Iterator[Response]:
        """Make one streaming call, which may take as long as it takes: the channel notices a daemon that is gone."""
        call = method(request)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self.address) from error
        finally:
            call.cancel()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
