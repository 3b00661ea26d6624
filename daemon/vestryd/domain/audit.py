"""The audit log's port: who did what, in a log that shows tampering.

What is recorded: each change of configuration, each refusal of its files, each backup, and the daemon's own start and
stop. What must not happen without a record (access to a secret) is recorded first, with `AuditLog.record`, and not done
when that fails. What happens anyway (a change of a file) goes through `audit_trail.AuditTrail`, which counts what it
could not record.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vestry.audit_checkpoint import Checkpoint
from vestry.audit_record import Fact, Outcome, Record

MAX_TEXT_CHARACTERS = 256
MAX_FACTS = 16
MAX_INTEGER = 2**63 - 1

DAEMON = "vestryd"  # the actor of what the daemon does by itself


@dataclass(frozen=True, slots=True)
class Entry:
    """What to record; the log gives it its sequence and time. The fields are those of Record.

    A text over MAX_TEXT_CHARACTERS is cut, and ends in an ellipsis. More than MAX_FACTS facts, and integers of more than
    64 bits, are a ValueError.
    """

    actor: str
    action: str
    resource: str
    outcome: Outcome = Outcome.ALLOWED
    request_id: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.facts) > MAX_FACTS:
            raise ValueError(f"an audit record has {len(self.facts)} facts, over the limit of {MAX_FACTS}")
        if any(isinstance(fact, int) and abs(fact) > MAX_INTEGER for fact in self.facts.values()):
            raise ValueError(f"an integer among an audit record's facts is over the limit of {MAX_INTEGER}")
        for name in ("actor", "action", "resource", "request_id"):
            object.__setattr__(self, name, _cut(getattr(self, name)))
        facts = {_cut(name): _cut(fact) if isinstance(fact, str) else fact for name, fact in self.facts.items()}
        object.__setattr__(self, "facts", facts)


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """How the log is doing. `problem` says, for a person, why it can't record now; empty when it can.

    `has_verification_key` tells that verification.key still lies in the log's directory: whoever takes it from there can
    forge the past, so an administrator must take it away.
    """

    last_sequence: int
    disk_bytes: int
    problem: str
    has_verification_key: bool


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Whole lines of one of the log's files, newlines included."""

    file: str
    lines: bytes


class AuditLog(Protocol):
    """An audit log that is open. It belongs to one event loop, and lives until `close`.

    Any method but `figures` and `close` may raise AuditUnavailable.
    """

    @property
    def store_id(self) -> str:
        """The store whose log this is: the origin in its checkpoints."""

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key that its checkpoints are verified with, 32 bytes."""

    @property
    def last_sequence(self) -> int:
        """The sequence of the newest record, 0 when there is none."""

    async def record(self, entry: Entry) -> Record:
        """Record `entry`, and return the record once it is durable.

        When this raises AuditUnavailable the caller must take the entry for not recorded. It works again, by itself,
        as soon as the medium does. Cancelling the caller does not undo a record that is under way.
        """

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Return at most `limit` records above sequence `after`, in order.

        Sequences have no gaps, so this pages backwards as well. Records that were moved to an archive are missing at
        the beginning only.
        """

    def watch(self, *, after: int) -> AsyncGenerator[Record, None]:
        """Yield, for ever, each record above sequence `after` in order, as it becomes durable.

        The generator ends when the log is closed. Close it with `aclose()`.
        """

    async def checkpoint(self) -> Checkpoint:
        """Return the latest checkpoint, after signing one if there are records that it doesn't cover."""

    def export(self) -> AsyncGenerator[Excerpt, None]:
        """Yield the log's files as they are: the checkpoints first, then the segments in order.

        In that order the records are always at least as many as the checkpoints say, while the log goes on.
        """

    def figures(self) -> AuditFigures:
        """Tell how the log is doing."""

    async def close(self) -> None:
        """Record what was accepted, sign a last checkpoint, end the watches, and let go of the medium. Idempotent."""


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"
