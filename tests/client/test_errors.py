"""From a failed call to a typed error."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from vestry import errors
from vestry.errors import Violation, from_rpc_error


def _failed(
    code: grpc.StatusCode, *details: Message, message: str = "said the daemon", raw: bytes | None = None
) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", raw or status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details="from gRPC")


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.Invalid),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.ABORTED, errors.VersionMismatch),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitExceeded),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unimplemented),
        (grpc.StatusCode.INTERNAL, errors.Internal),
        (grpc.StatusCode.DATA_LOSS, errors.RemoteError),
    ],
)
def test_each_code_has_its_class(code: grpc.StatusCode, cls: type[errors.RemoteError]) -> None:
    """The class follows the code; reason, metadata and message are the daemon's."""
    info = error_details_pb2.ErrorInfo(reason="WHY", metadata={"name": "x"})
    error = from_rpc_error(_failed(code, info), target="unix:/a")
    assert type(error) is cls
    assert (error.code, error.reason, error.metadata, str(error)) == (code, "WHY", {"name": "x"}, "said the daemon")
    assert isinstance(error, errors.VestryError)


def test_violations_come_from_a_bad_request() -> None:
    """Each field violation is a pointer, a rule and a message."""
    bad = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="/a", reason="type", description="no")]
    )
    info = error_details_pb2.ErrorInfo(reason="DOCUMENT_INVALID")
    error = from_rpc_error(_failed(grpc.StatusCode.INVALID_ARGUMENT, info, bad))
    assert error.violations == (Violation("/a", "type", "no"),)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (grpc.StatusCode.UNAVAILABLE, "can't be reached at unix:/a: check that it runs"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "unix:/a did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, "listens at unix:/a"),
        (grpc.StatusCode.UNKNOWN, "unix:/a failed: from gRPC"),
    ],
)
def test_without_the_daemons_word_the_target_is_named(code: grpc.StatusCode, part: str) -> None:
    """An error that no vestryd explained says where it happened and what to do."""
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="from gRPC")
    assert part in str(from_rpc_error(error, target="unix:/a"))


def test_a_call_that_a_stopping_server_drops_may_be_repeated() -> None:
    """CANCELLED comes from a server that stops before it looked at the call: for the caller it is unavailable."""
    error = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata()))
    assert isinstance(error, errors.Unavailable)
    assert error.code is grpc.StatusCode.UNAVAILABLE


def test_garbage_details_are_no_error_of_their_own() -> None:
    """Details that can't be decoded are left out."""
    error = from_rpc_error(_failed(grpc.StatusCode.NOT_FOUND, raw=b"\xff\xff\xff"), target="unix:/a")
    assert isinstance(error, errors.NotFound)
    assert error.reason == ""
    assert "from gRPC" in str(error)


def test_errors_of_use_are_pythons_too() -> None:
    """Who knows no Vestry catches KeyError, TypeError, ValueError and RuntimeError."""
    assert issubclass(errors.MissingKey, KeyError)
    assert issubclass(errors.WrongType, TypeError)
    assert issubclass(errors.InvalidPath, ValueError)
    assert issubclass(errors.InvalidTarget, ValueError)
    assert issubclass(errors.ClientClosed, RuntimeError)
