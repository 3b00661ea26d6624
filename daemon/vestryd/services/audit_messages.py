"""The audit log as the wire tells it: from records to messages."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vestry.audit_checkpoint import Checkpoint, encode_checkpoint
from vestry.audit_record import Outcome, Record
from vestry.v1 import audit_pb2 as pb
from vestry.v1 import common_pb2 as common
from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import canonical
from vestryd.services.common_messages import timestamp

PREFIX = "AUDIT_OUTCOME_"


def record(one: Record) -> pb.AuditRecord:
    """Return the message for a record."""
    return pb.AuditRecord(
        sequence=one.sequence,
        record_time=timestamp(one.time),
        actor=one.actor,
        action=one.action,
        resource=one.resource,
        outcome=pb.AuditOutcome.Value(PREFIX + one.outcome.name),
        request_id=one.request_id,
        facts=canonical(dict(one.facts)),
    )


def checkpoint(one: Checkpoint) -> pb.AuditCheckpoint:
    """Return the message for a checkpoint."""
    return pb.AuditCheckpoint(
        line=encode_checkpoint(one), sequence=one.size, hash=one.hash, sign_time=timestamp(one.time)
    )


def outcome(number: pb.AuditOutcome.ValueType) -> Outcome | None:
    """Return the outcome with a number of the proto's, None for the unset one. Raises InvalidField."""
    if number == pb.AUDIT_OUTCOME_UNSPECIFIED:
        return None
    if number not in pb.AuditOutcome.values():
        raise InvalidField("outcome", f"there is no outcome {number}")
    return Outcome[pb.AuditOutcome.Name(number).removeprefix(PREFIX)]


def public_key(raw: bytes) -> bytes:
    """Return an Ed25519 public key in PEM."""
    return Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def recorded(one: Record) -> pb.WatchAuditResponse:
    """Return the message that tells a watcher of a record."""
    return pb.WatchAuditResponse(sequence=one.sequence, record=record(one))


def bookmark(sequence: int) -> pb.WatchAuditResponse:
    """Return a bookmark."""
    return pb.WatchAuditResponse(sequence=sequence, bookmark=common.Bookmark())


def farewell(sequence: int) -> pb.WatchAuditResponse:
    """Return the end of a watch that has delivered everything up to `sequence`."""
    end = common.WatchEnd(
        reason=common.WATCH_END_REASON_SHUTTING_DOWN,
        message="the daemon is shutting down: connect again, and go on",
    )
    return pb.WatchAuditResponse(sequence=sequence, end=end)
