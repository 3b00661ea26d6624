"""The one table from domain errors to what goes over the wire."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from vestry.v1.errors_pb2 import ErrorReason
from vestryd.domain import errors

DOMAIN = "vestry"
# Trailing metadata above 8 KiB is refused by many peers. The message goes into it twice: once with three bytes for each
# byte that isn't printable ASCII, and for '%'; and once in the details, which take a third more in base64.
MAX_MESSAGE_BYTES = 1500
MAX_DETAIL_BYTES = 4500
MAX_FIELD_VIOLATIONS = 100
MAX_FACT_CHARACTERS = 256

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed, ready for any wire: `details` is a serialized google.rpc.Status."""

    code: int
    reason: str
    message: str
    details: bytes


@dataclass(eq=False)
class DeadlineExceeded(errors.VestryError):
    """The call took longer than its deadline."""

    timeout_seconds: float

    def __str__(self) -> str:
        return (
            f"the call took longer than its deadline of {self.timeout_seconds:g} s; "
            "if it was a write, repeat it with the same request_id to learn the outcome"
        )


@dataclass(eq=False)
class InternalError(errors.VestryError):
    """A defect of ours. The message tells nothing of it but where to read on."""

    request_id: str

    def __str__(self) -> str:
        return f"an internal error: the daemon's log has the details under request {self.request_id}"


# error -> (gRPC code, reason)
TABLE: Mapping[type[errors.VestryError], tuple[int, ErrorReason.ValueType]] = {
    errors.InvalidField: (Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    errors.DocumentInvalid: (Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_DOCUMENT_INVALID),
    errors.InvalidPageToken: (Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_PAGE_TOKEN_INVALID),
    errors.InvalidResumeToken: (Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_RESUME_TOKEN_INVALID),
    errors.ForeignResumeToken: (Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_RESUME_TOKEN_FOREIGN),
    errors.DocumentNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_DOCUMENT_NOT_FOUND),
    errors.VersionNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_VERSION_NOT_FOUND),
    errors.PointerNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_POINTER_NOT_FOUND),
    errors.SchemaNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_SCHEMA_NOT_FOUND),
    errors.VersionMismatch: (Code.ABORTED, ErrorReason.ERROR_REASON_VERSION_MISMATCH),
    errors.RequestIdReused: (Code.ALREADY_EXISTS, ErrorReason.ERROR_REASON_REQUEST_ID_REUSED),
    errors.LimitExceeded: (Code.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_LIMIT_EXCEEDED),
    errors.RecordDamaged: (Code.DATA_LOSS, ErrorReason.ERROR_REASON_RECORD_DAMAGED),
    errors.StoreUnavailable: (Code.UNAVAILABLE, ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
    errors.AuditUnavailable: (Code.UNAVAILABLE, ErrorReason.ERROR_REASON_AUDIT_UNAVAILABLE),
    errors.BackupUnsupported: (Code.UNIMPLEMENTED, ErrorReason.ERROR_REASON_BACKUP_UNSUPPORTED),
    errors.ShuttingDown: (Code.UNAVAILABLE, ErrorReason.ERROR_REASON_SHUTTING_DOWN),
    errors.CredentialsMissing: (Code.UNAUTHENTICATED, ErrorReason.ERROR_REASON_CREDENTIALS_MISSING),
    errors.CredentialsInvalid: (Code.UNAUTHENTICATED, ErrorReason.ERROR_REASON_CREDENTIALS_INVALID),
    errors.PermissionDenied: (Code.PERMISSION_DENIED, ErrorReason.ERROR_REASON_PERMISSION_DENIED),
    errors.TokenNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_TOKEN_NOT_FOUND),
    errors.SecretNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_SECRET_NOT_FOUND),
    errors.SecretUnusable: (Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_SECRET_UNUSABLE),
    errors.Sealed: (Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_SEALED),
    errors.UnlockRefused: (Code.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_UNLOCK_REFUSED),
    errors.SlotNotFound: (Code.NOT_FOUND, ErrorReason.ERROR_REASON_SLOT_NOT_FOUND),
    errors.LastSlot: (Code.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_LAST_SLOT),
    DeadlineExceeded: (Code.DEADLINE_EXCEEDED, ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED),
    InternalError: (Code.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL),
}


def failure(error: errors.VestryError) -> Failure:
    """Return how an error goes over the wire: one ErrorInfo, and a BadRequest where fields or values are to blame."""
    code, number = TABLE[type(error)]
    reason = ErrorReason.Name(number).removeprefix("ERROR_REASON_")
    message = _fitting(str(error))
    status = Status(code=code, message=message)
    status.details.add().Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=_metadata(error)))
    blame = _bad_request(error)
    if blame is not None:
        status.details.add().Pack(_cut(blame, MAX_DETAIL_BYTES - status.ByteSize()))
    return Failure(code, reason, message, status.SerializeToString())


def _fitting(message: str) -> str:
    """Cut a message so that it takes no more than MAX_MESSAGE_BYTES where gRPC percent-encodes it."""
    size = 0
    for length, character in enumerate(message):
        is_plain = character.isascii() and character.isprintable() and character != "%"
        size += 1 if is_plain else 3 * len(character.encode())
        if size > MAX_MESSAGE_BYTES:
            return message[:length]
    return message


def _metadata(error: errors.VestryError) -> Facts:
    """Return the error's fields: they are the metadata that errors.proto documents."""
    facts = {}
    for field in dataclasses.fields(error):  # type: ignore[arg-type] # every class of the table is a dataclass
        value = getattr(error, field.name)
        if field.name == "violations":
            facts["violations"] = str(len(value))
        elif field.name == "field_name":
            facts["field"] = value
        elif field.name not in {"problem", "path", "remedy"}:
            facts[field.name] = (str(value).lower() if isinstance(value, bool) else str(value))[:MAX_FACT_CHARACTERS]
    return facts


def _bad_request(error: errors.VestryError) -> BadRequest | None:
    if isinstance(error, errors.InvalidField):
        return BadRequest(field_violations=[_blame(error.field_name, error.problem, "")])
    if isinstance(error, errors.DocumentInvalid):
        return BadRequest(
            field_violations=[
                _blame(one.pointer, one.message, one.rule) for one in error.violations[:MAX_FIELD_VIOLATIONS]
            ]
        )
    return None


def _blame(field: str, description: str, reason: str) -> BadRequest.FieldViolation:
    return BadRequest.FieldViolation(field=field, description=description[:500], reason=reason)


def _cut(blame: BadRequest, size: int) -> Message:
    """Drop the last violations until the message fits: they travel in trailing metadata, which is small."""
    while blame.ByteSize() > size and blame.field_violations:
        del blame.field_violations[-1]
    return blame
