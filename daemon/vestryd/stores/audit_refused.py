"""The audit log of a daemon whose own can't be opened: everything that needs a record is refused, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from vestry.audit_checkpoint import Checkpoint
from vestry.audit_record import Record
from vestryd.domain.audit import AuditFigures, Entry, Excerpt
from vestryd.domain.errors import AuditUnavailable, AuditUnusable


class RefusedAuditLog:
    """Says to everybody why the log can't be opened. Lives as long as the daemon; a restart tries again."""

    def __init__(self, store_id: str, refusal: AuditUnusable) -> None:
        self._store_id = store_id
        self._refusal = refusal

    @property
    def store_id(self) -> str:
        """The store whose log can't be opened."""
        return self._store_id

    @property
    def public_key(self) -> bytes:
        """Not known."""
        raise self._unavailable()

    @property
    def last_sequence(self) -> int:
        """Not known."""
        raise self._unavailable()

    async def record(self, entry: Entry) -> Record:  # noqa: ARG002 - the port's
        """Refuse."""
        raise self._unavailable()

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:  # noqa: ARG002 - the port's
        """Refuse."""
        raise self._unavailable()

    async def watch(self, *, after: int) -> AsyncGenerator[Record, None]:  # noqa: ARG002 - the port's
        """Refuse."""
        raise self._unavailable()
        yield  # makes this a generator, as the port has it

    async def checkpoint(self) -> Checkpoint:
        """Refuse."""
        raise self._unavailable()

    async def export(self) -> AsyncGenerator[Excerpt, None]:
        """Refuse."""
        raise self._unavailable()
        yield  # makes this a generator, as the port has it

    def figures(self) -> AuditFigures:
        """Tell why."""
        return AuditFigures(last_sequence=0, disk_bytes=0, problem=str(self._refusal), has_verification_key=False)

    async def close(self) -> None:
        """Do nothing."""

    def _unavailable(self) -> AuditUnavailable:
        return AuditUnavailable(f"{self._refusal.problem}. {self._refusal.remedy}", self._refusal.path)
