"""What can go wrong, one class for each situation, and how a failed call becomes one of them.

`from_rpc_error` is the one place where gRPC's errors are translated. Branch on the class, or on `reason`, whose values
and metadata proto/vestry/v1/errors.proto lists; never on the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"  # gRPC over HTTP/2 carries google.rpc.Status under this key
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


class VestryError(Exception):
    """The base of every error that this library raises on purpose.

    `code` is the gRPC status, UNKNOWN for an error that arose here. `reason` is the name of a value of ErrorReason
    without its prefix, e.g. `VERSION_MISMATCH`; empty when the daemon gave none. `metadata` holds that reason's facts.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    reason: str = ""
    metadata: Mapping[str, str] = _NO_METADATA


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a document, or a request, breaks a rule.

    `pointer` is an RFC 6901 JSON Pointer into the document, or the name of a field of the request.
    """

    pointer: str
    rule: str
    message: str


class RemoteError(VestryError):
    """A call failed in a way that no other class names; also the base of those that do."""

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = _NO_METADATA,
        violations: Iterable[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.reason = reason
        self.metadata = metadata
        self.violations = tuple(violations)


class Invalid(RemoteError):
    """The daemon refuses what it was sent, and nothing was changed. `violations` says why, in at most 100 points."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(RemoteError):
    """There is no such namespace, version, pointer or schema: `reason` says which."""

    default_code = grpc.StatusCode.NOT_FOUND


class VersionMismatch(RemoteError):
    """The document is no longer at `expected_version`: read it again, and decide again. Nothing was changed."""

    default_code = grpc.StatusCode.ABORTED


class AlreadyExists(RemoteError):
    """A request_id was used before, for a different request. Nothing was changed."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(RemoteError):
    """The daemon's state doesn't allow the call."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class LimitExceeded(RemoteError):
    """Something is larger than the daemon takes: `metadata` has `what`, `limit` and `actual`."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class PermissionDenied(RemoteError):
    """The caller is known, and may not do this."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(RemoteError):
    """The daemon doesn't know who calls."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class CredentialsUnusable(Unauthenticated):
    """The token that this client was told to send can't be had, or must not be sent; the daemon was not asked."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the token can't be used: {problem}")


class Unavailable(RemoteError):
    """The daemon can't be reached, or can't do this now: try again. A write that was not answered may have happened."""

    default_code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(RemoteError):
    """The answer took too long. A write may still happen: repeat it with the same request_id to learn the outcome."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unimplemented(RemoteError):
    """The daemon doesn't know the method: it is older than this library, or something else listens there."""

    default_code = grpc.StatusCode.UNIMPLEMENTED


class Internal(RemoteError):
    """A defect of Vestry: the daemon's log has the details under `metadata["request_id"]`."""

    default_code = grpc.StatusCode.INTERNAL


_CLASSES: Mapping[grpc.StatusCode, type[RemoteError]] = {  # status code -> the class that stands for it
    cls.default_code: cls
    for cls in (
        Invalid,
        NotFound,
        VersionMismatch,
        AlreadyExists,
        FailedPrecondition,
        LimitExceeded,
        PermissionDenied,
        Unauthenticated,
        Unavailable,
        DeadlineExceeded,
        Unimplemented,
        Internal,
    )
}


class InvalidTarget(VestryError, ValueError):
    """A target is neither `unix:/absolute/path` nor `host:port`."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"{target!r} is no address of a vestryd: {problem}. Use unix:/path/to/socket or host:port")
        self.target = target


class InvalidPath(VestryError, ValueError):
    """A dotted path or a JSON Pointer can't be read."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path!r} is no path: {problem}")
        self.path = path


class MissingKey(VestryError, KeyError):
    """A document has nothing at a path."""

    def __init__(self, path: str, *, namespace: str, version: int) -> None:
        super().__init__(path)
        self.path = path
        self.namespace = namespace
        self.version = version

    def __str__(self) -> str:
        return f"config {self.namespace!r} has nothing at {self.path!r} (version {self.version})"


class WrongType(VestryError, TypeError):
    """A document has a value of another type at a path. The value itself is not told: it may be a secret."""

    def __init__(self, path: str, *, expected: str, found: str) -> None:
        super().__init__(f"{path!r} should be {expected}, and is {found}")
        self.path = path
        self.expected = expected
        self.found = found


class SecretNotText(VestryError, ValueError):
    """A secret's value is asked for as text, and is none. It is not told."""

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"the value of secret {name!r} in {namespace!r} is not UTF-8 text: take its bytes")
        self.namespace = namespace
        self.name = name


class SecretWithheld(VestryError):
    """A configuration refers to secrets that this caller can't have. `reasons` maps each JSON Pointer -> why."""

    def __init__(self, namespace: str, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{pointer or '(all)'}: {why}" for pointer, why in reasons.items())
        super().__init__(f"config {namespace!r} refers to secrets that are withheld: {listed}")
        self.namespace = namespace
        self.reasons = reasons


class CacheUnusable(VestryError):
    """The cache's directory is not safe to use, or can't be made."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"the cache directory {path} can't be used: {problem}")
        self.path = path


class ClientClosed(VestryError, RuntimeError):
    """A client, or a view of it, is used after the client was closed."""

    def __init__(self) -> None:
        super().__init__("this client is closed: make a new one")


class WrongEventLoop(VestryError, RuntimeError):
    """An AsyncClient is used from an event loop other than the one of its first use."""

    def __init__(self) -> None:
        super().__init__("this client belongs to another event loop: make one client for each loop")


class ForkedProcess(VestryError, RuntimeError):
    """A client is used, or opened, in a child of a process in which gRPC ran already.

    gRPC's threads don't survive a fork, and its asyncio side can't be started again in the child (grpcio 1.85,
    measured). The views of the parent's client keep their last state readable in the child.
    """

    def __init__(self) -> None:
        super().__init__(
            "a Vestry client was used in this process's parent before the fork, and none can be used here: "
            "use clients after the fork alone, e.g. from gunicorn's post_fork hook"
        )


class CallInCallback(VestryError, RuntimeError):
    """A synchronous client is asked to wait on its own thread, from an on_change callback."""

    def __init__(self) -> None:
        super().__init__(
            "an on_change callback runs on the client's thread and can't wait for it: use a thread of yours"
        )


class _FailedCall(Protocol):
    """What grpc's and grpc.aio's errors have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc_error(error: grpc.RpcError, *, target: str = "") -> RemoteError:
    """Translate what a stub raised, from grpc or grpc.aio. `target` names the daemon where the message needs it."""
    call = cast("_FailedCall", error)
    code = call.code()
    if code is grpc.StatusCode.CANCELLED:  # what a server that stops makes of calls it has not begun (grpc/grpc#41785)
        code = grpc.StatusCode.UNAVAILABLE
    status = _status(call)
    info = _detail(status, error_details_pb2.ErrorInfo())
    message = status.message or call.details() or code.name
    return _CLASSES.get(code, RemoteError)(
        message if info.reason else _unexplained(code, message, target or "its address"),
        code=code,
        reason=info.reason,
        metadata=MappingProxyType(dict(info.metadata)),
        violations=_violations(_detail(status, error_details_pb2.BadRequest())),
    )


def _status(call: _FailedCall) -> Any:
    """Return the google.rpc.Status that the call ended with, an empty one when it has none."""
    status = status_pb2.Status()
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return status_pb2.Status()
    return status


def _detail(status: Any, message: Any) -> Any:
    """Unpack the status' first detail of `message`'s type into it, and return it; unchanged when there is none."""
    for detail in status.details:
        if detail.Is(message.DESCRIPTOR):
            detail.Unpack(message)
            break
    return message


def _violations(bad_request: Any) -> Iterable[Violation]:
    for violation in bad_request.field_violations:
        yield Violation(violation.field, violation.reason, violation.description)


def _unexplained(code: grpc.StatusCode, details: str, target: str) -> str:
    """Say what happened when the daemon itself did not: the transport failed, or a stranger answered."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return (
            f"vestryd can't be reached at {target}: check that it runs (systemctl status vestryd) and that the address "
            f"is right ({details})"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"vestryd at {target} did not answer in time: try again, or allow it more time"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"what listens at {target} doesn't know this method: is it a vestryd, and as new as this client?"
    return f"vestryd at {target} failed: {details}"
