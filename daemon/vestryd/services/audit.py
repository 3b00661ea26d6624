"""AuditService: the wire's meaning of the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from google.protobuf.timestamp_pb2 import Timestamp

from vestry.audit_checkpoint import decode_checkpoint
from vestry.audit_files import PUBLIC_KEY_FILE
from vestry.audit_record import Outcome, Record
from vestry.audit_verify import CHECKPOINTS_FILE
from vestry.v1 import audit_pb2 as pb
from vestryd.domain.audit import AuditLog, Excerpt
from vestryd.domain.errors import InvalidField, InvalidPageToken, ShuttingDown
from vestryd.domain.jsonvalue import checksum
from vestryd.services import audit_messages as messages
from vestryd.services.call import Call
from vestryd.services.paging import page_size, page_token, position_of

CHUNK_BYTES = 64 * 1024
BLOCK_RECORDS = 1000
MAX_RECORDS_A_CALL = 20_000
CLOCK_SLACK = timedelta(days=1)  # so much may the clock have been set back without hiding a record from a search


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are asked for; None and the empty text ask for any."""

    actor: str
    action_prefix: str
    resource_prefix: str
    outcome: Outcome | None
    since: datetime | None
    until: datetime | None

    def __call__(self, record: Record) -> bool:
        """Tell whether a record is one of those."""
        return (
            (not self.actor or record.actor == self.actor)
            and record.action.startswith(self.action_prefix)
            and record.resource.startswith(self.resource_prefix)
            and (self.outcome is None or record.outcome is self.outcome)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )

    def is_over(self, block: Sequence[Record]) -> bool:
        """Tell whether no record before this block can be one of those, as far as the clock can be trusted."""
        return self.since is not None and max(record.time for record in block) < self.since - CLOCK_SLACK


class AuditService:
    """Answers AuditService. Lives as long as the daemon serves; `close` ends its watches."""

    service = "vestry.v1.AuditService"

    def __init__(self, log: AuditLog, *, heartbeat_seconds: float) -> None:
        self._log = log
        self._heartbeat_seconds = heartbeat_seconds
        self._is_closed = asyncio.Event()

    def close(self) -> None:
        """End every watch: each gets a farewell, and then ShuttingDown."""
        self._is_closed.set()

    async def list_audit_records(self, request: pb.ListAuditRecordsRequest, _call: Call) -> pb.ListAuditRecordsResponse:
        """List records, newest first."""
        scope = _scope(request)
        position = position_of(scope, request.page_token)
        newest = min(_sequence(position), self._log.last_sequence) if position else self._log.last_sequence
        found, following = await self._search(_filter(request), newest, page_size(request.page_size))
        return pb.ListAuditRecordsResponse(
            records=[messages.record(one) for one in found],
            next_page_token=page_token(scope, str(following)) if following else "",
        )

    def watch_audit(self, request: pb.WatchAuditRequest, _call: Call) -> AsyncGenerator[pb.WatchAuditResponse, None]:
        """Stream the records after a sequence."""
        newest = self._log.last_sequence
        after = request.after_sequence if request.HasField("after_sequence") else newest
        if not 0 <= after <= newest:
            problem = f"the log's records are 1 to {newest}: it has no {after} to go on from"
            raise InvalidField("after_sequence", problem)
        return self._watch(after)

    async def get_checkpoint(self, _request: pb.GetCheckpointRequest, _call: Call) -> pb.GetCheckpointResponse:
        """Read the newest checkpoint; what it doesn't cover is signed for first."""
        checkpoint = await self._log.checkpoint()
        return pb.GetCheckpointResponse(
            checkpoint=messages.checkpoint(checkpoint),
            public_key=messages.public_key(self._log.public_key).decode(),
            sequence=self._log.last_sequence,
            store_id=self._log.store_id,
        )

    async def export_audit(
        self, _request: pb.ExportAuditRequest, _call: Call
    ) -> AsyncGenerator[pb.ExportAuditResponse, None]:
        """Stream the files, the key to verify them with first."""
        await self._log.checkpoint()
        yield pb.ExportAuditResponse(file=PUBLIC_KEY_FILE, chunk=messages.public_key(self._log.public_key))
        async with aclosing(self._log.export()) as excerpts, aclosing(_sealed(excerpts)) as parts:
            async for part in parts:
                for chunk in _chunks(part.lines):
                    yield pb.ExportAuditResponse(file=part.file, chunk=chunk)

    async def _search(self, wanted: Filter, newest: int, limit: int) -> tuple[list[Record], int]:
        """Return records, newest first, and the sequence that the search goes on from, 0 when it is over."""
        found: list[Record] = []
        oldest = max(0, newest - MAX_RECORDS_A_CALL)
        while newest > oldest:
            block = await self._block(newest)
            if not block or wanted.is_over(block):
                return found, 0
            for record in reversed(block):
                if wanted(record):
                    found.append(record)
                    if len(found) == limit:
                        return found, record.sequence - 1
            newest = block[0].sequence - 1
        return found, newest

    async def _block(self, newest: int) -> Sequence[Record]:
        after = max(0, newest - BLOCK_RECORDS)
        return [one for one in await self._log.read(after=after, limit=newest - after) if one.sequence <= newest]

    async def _watch(self, after: int) -> AsyncGenerator[pb.WatchAuditResponse, None]:
        """Yield the records after a sequence, a bookmark once they are through, and what is recorded from then on."""
        reached, is_through = after, False
        async with aclosing(self._log.watch(after=after)) as records, Steps(records, self._is_closed) as steps:
            try:
                while True:
                    if not is_through and reached >= self._log.last_sequence:
                        is_through = True
                        yield messages.bookmark(reached)
                    record = await steps.next(self._heartbeat_seconds)
                    if record:
                        reached = record.sequence
                    yield messages.recorded(record) if record else messages.bookmark(reached)
            except ShuttingDown:
                yield messages.farewell(reached)
                raise


class Steps:
    """The records of a watch, one by one, until they end or `closed` is set. Lives as long as the watch.

    A task waits for the next record, since it has to outlive a timeout: to cancel it would end the records.
    """

    def __init__(self, records: AsyncGenerator[Record, None], closed: asyncio.Event) -> None:
        self._records = records
        self._record = self._ask()
        self._closed = asyncio.ensure_future(closed.wait())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed.cancel()
        self._record.cancel()
        await asyncio.wait(self._either)  # a generator can't be closed while it runs

    async def next(self, seconds: float) -> Record | None:
        """Return the next record, None when none comes in so many seconds. Raises ShuttingDown when there are no more."""
        done, _ = await asyncio.wait(self._either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        record = self._record.result() if self._record in done else None
        if record:
            self._record = self._ask()
        elif done:
            raise ShuttingDown
        return record

    @property
    def _either(self) -> set[asyncio.Future[Any]]:
        return {self._record, self._closed}

    def _ask(self) -> asyncio.Future[Record | None]:
        return asyncio.ensure_future(anext(self._records, None))


def _filter(request: pb.ListAuditRecordsRequest) -> Filter:
    return Filter(
        actor=request.actor,
        action_prefix=request.action_prefix,
        resource_prefix=request.resource_prefix,
        outcome=messages.outcome(request.outcome),
        since=_time("since_time", request.since_time) if request.HasField("since_time") else None,
        until=_time("until_time", request.until_time) if request.HasField("until_time") else None,
    )


def _time(field: str, time: Timestamp) -> datetime:
    try:
        return time.ToDatetime(tzinfo=UTC)
    except ValueError as error:
        raise InvalidField(field, str(error)) from error


def _scope(request: pb.ListAuditRecordsRequest) -> str:
    """Return the name of the list that a page belongs to: its filters."""
    filters = pb.ListAuditRecordsRequest()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    return f"audit/{checksum(filters.SerializeToString(deterministic=True))[:16]}"


def _sequence(position: str) -> int:
    try:
        return int(position)
    except ValueError as error:
        raise InvalidPageToken from error


async def _sealed(excerpts: AsyncGenerator[Excerpt, None]) -> AsyncGenerator[Excerpt, None]:
    """Yield a log up to its newest checkpoint: the rest may grow faster than it is read, and would end anywhere."""
    through = sequence = 0
    segment = ""
    async for excerpt in excerpts:
        lines = excerpt.lines.splitlines(keepends=True)
        if excerpt.file == CHECKPOINTS_FILE:
            through = decode_checkpoint(lines[-1]).size
            yield excerpt
            continue
        if excerpt.file != segment:
            segment, sequence = excerpt.file, first_sequence(excerpt.file) - 1
        kept = lines[: through - sequence]
        sequence += len(kept)
        if kept:
            yield Excerpt(segment, b"".join(kept))
        if sequence == through:
            return


def first_sequence(segment: str) -> int:
    """Return the sequence that a segment begins with: its name says so."""
    return int(segment.removeprefix("audit-").removesuffix(".jsonl"))


def _chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
