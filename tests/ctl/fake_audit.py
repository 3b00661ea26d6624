"""The audit service of a vestryd in memory: a real log, served from copies of its files."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from ctl.fake_config import REVISION, Context
from engine import FakeClock
from vestry.audit_checkpoint import Checkpoint
from vestry.audit_record import Outcome
from vestry.v1 import audit_pb2, audit_pb2_grpc, common_pb2
from vestryd.domain.audit import Entry
from vestryd.services import audit_messages as messages
from vestryd.stores.audit_memory import MemoryAuditLog


@dataclass(kw_only=True)
class FakeAudit(audit_pb2_grpc.AuditServiceServicer):
    """Serves `log`. `files` are what an export sends, taken by `publish`; `list_requests` is what lists were asked for."""

    log: MemoryAuditLog = field(default_factory=lambda: MemoryAuditLog(REVISION.store_id, clock=FakeClock()))
    files: dict[str, bytes] = field(default_factory=dict)
    list_requests: list[audit_pb2.ListAuditRecordsRequest] = field(default_factory=list)

    def record(self, count: int = 1, outcome: Outcome = Outcome.ALLOWED) -> None:
        """Record so many updates, sign for them, and publish them."""
        asyncio.run(self._record(count, outcome))

    async def _record(self, count: int, outcome: Outcome) -> None:
        for number in range(count):
            facts: dict[str, str | int | bool] = {"version": number, "checksum": "0" * 64}
            entry = Entry("uid:7", "config.update", "namespaces/default/config", outcome, "r-1", facts)
            await self.log.record(entry)
        await self.log.checkpoint()
        self.files = {"signing.pub": messages.public_key(self.log.public_key)}
        async for excerpt in self.log.export():
            self.files[excerpt.file] = excerpt.lines

    def ListAuditRecords(
        self, request: audit_pb2.ListAuditRecordsRequest, context: Context
    ) -> audit_pb2.ListAuditRecordsResponse:
        """List the records, newest first; every page has two, and the token is the sequence."""
        self.list_requests.append(audit_pb2.ListAuditRecordsRequest.FromString(request.SerializeToString()))
        records = [one for one in reversed(self._records()) if one.sequence <= int(request.page_token or 2**40)]
        following = str(records[2].sequence) if len(records) > 2 else ""
        return audit_pb2.ListAuditRecordsResponse(records=records[:2], next_page_token=following)

    def WatchAudit(
        self, request: audit_pb2.WatchAuditRequest, context: Context
    ) -> Iterator[audit_pb2.WatchAuditResponse]:
        """Send what there is after a sequence, and end the watch."""
        newest = self.log.last_sequence
        for record in self._records()[request.after_sequence :]:
            yield audit_pb2.WatchAuditResponse(sequence=record.sequence, record=record)
        yield audit_pb2.WatchAuditResponse(sequence=newest, bookmark=common_pb2.Bookmark())
        context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is shutting down")

    def GetCheckpoint(
        self, request: audit_pb2.GetCheckpointRequest, context: Context
    ) -> audit_pb2.GetCheckpointResponse:
        """Tell the newest checkpoint."""
        checkpoint: Checkpoint = asyncio.run(self.log.checkpoint())
        return audit_pb2.GetCheckpointResponse(
            checkpoint=messages.checkpoint(checkpoint),
            public_key=messages.public_key(self.log.public_key).decode(),
            sequence=self.log.last_sequence,
            store_id=self.log.store_id,
        )

    def ExportAudit(
        self, request: audit_pb2.ExportAuditRequest, context: Context
    ) -> Iterator[audit_pb2.ExportAuditResponse]:
        """Send the files in small pieces."""
        for name, content in self.files.items():
            for start in range(0, len(content), 1000):
                yield audit_pb2.ExportAuditResponse(file=name, chunk=content[start : start + 1000])

    def _records(self) -> list[audit_pb2.AuditRecord]:
        return [messages.record(one) for one in asyncio.run(self.log.read(after=0, limit=10_000))]
