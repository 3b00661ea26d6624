"""How a call failed, as it went over the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

DETAILS = "grpc-status-details-bin"


class _Ended(Protocol):
    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


@dataclass(frozen=True)
class Failed:
    """The code, the reason and metadata of the one ErrorInfo, and the message."""

    code: str
    reason: str
    metadata: Mapping[str, str]
    message: str


def failed(error: grpc.RpcError) -> Failed:
    """Read the failure, and assert that its parts agree and that it holds exactly one ErrorInfo, of our domain."""
    ended = cast("_Ended", error)
    details = [value for key, value in ended.trailing_metadata() or () if key == DETAILS]
    assert len(details) == 1, ended
    status = Status.FromString(cast("bytes", details[0]))
    assert (status.code, status.message) == (ended.code().value[0], ended.details())
    packed = [one for one in status.details if one.type_url.endswith("/google.rpc.ErrorInfo")]
    assert len(packed) == 1
    info = ErrorInfo()
    packed[0].Unpack(info)
    assert info.domain == "vestry"
    return Failed(ended.code().name, info.reason, dict(info.metadata), status.message)
