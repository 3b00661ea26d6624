from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from engine import FakeClock
from services.daemon import Refused, Services, reason_of, serving, sources
from vestry.audit_checkpoint import decode_checkpoint, is_signed_by, load_public_key
from vestry.audit_record import Outcome
from vestry.audit_verify import Segment, verify
from vestry.v1 import audit_pb2 as pb
from vestry.v1.admin_pb2 import CreateBackupRequest
from vestryd.domain.audit import Entry, Excerpt
from vestryd.services.audit import CHUNK_BYTES, MAX_RECORDS_A_CALL
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.sqlite import SqliteStore

START = FakeClock().now()


async def fill(services: Services, count: int, **fields: Any) -> None:
    """Record so many things, a second apart."""
    for number in range(count):
        services.engine.clock.advance(seconds=1)
        values = {"actor": f"uid:{number % 3}", "action": "config.update", "resource": "namespaces/default/config"}
        await services.audit.record(Entry(**{**values, **fields}, facts={"n": number}))


async def listed(services: Services, **fields: Any) -> list[int]:
    """Return the sequences of all pages of a list."""
    request = pb.ListAuditRecordsRequest(**fields)
    found: list[int] = []
    while True:
        page = await services.ask("ListAuditRecords", request)
        found += [one.sequence for one in page.records]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def stamp(seconds: float) -> Timestamp:
    """Return the time so many seconds after the clock's start."""
    time = Timestamp()
    time.FromDatetime(START + timedelta(seconds=seconds))
    return time


async def test_a_record_is_told_whole() -> None:
    """Each field of the wire is that of the log."""
    async with serving(sources=sources(default={"n": 1})) as services:
        facts: dict[str, str | int | bool] = {"b": 2, "a": "é", "c": True}
        entry = Entry("uid:7", "config.update", "namespaces/a/config", Outcome.DENIED, "r-1", facts)
        await services.audit.record(entry)
        (one,) = (await services.ask("ListAuditRecords", pb.ListAuditRecordsRequest())).records
    assert (one.sequence, one.actor, one.action, one.resource) == (1, "uid:7", "config.update", "namespaces/a/config")
    assert (one.outcome, one.request_id) == (pb.AUDIT_OUTCOME_DENIED, "r-1")
    assert one.facts.decode() == '{"a":"é","b":2,"c":true}'
    assert one.record_time.ToDatetime(tzinfo=UTC) == START


@pytest.mark.parametrize("page_size", [0, 1, 7, 1000])
async def test_pages_are_newest_first_and_complete(page_size: int) -> None:
    """Whatever their size, they hold each record once; what is recorded meanwhile doesn't shift them."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 60)
        request = pb.ListAuditRecordsRequest(page_size=page_size)
        found: list[int] = []
        while True:
            page = await services.ask("ListAuditRecords", request)
            found += [one.sequence for one in page.records]
            assert len(page.records) <= (page_size or 50)
            await fill(services, 1)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert found == list(range(60, 0, -1))


async def test_an_empty_log_has_an_empty_page() -> None:
    """And no next one."""
    async with serving(sources=sources(default={"n": 1})) as services:
        assert await listed(services) == []


async def test_filters() -> None:
    """Each narrows the list; together they all hold."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 6)
        await fill(services, 1, action="admin.backup", resource="daemon")
        await fill(services, 1, outcome=Outcome.FAILED, resource="namespaces/billing/config")
        assert await listed(services, actor="uid:1") == [5, 2]
        assert await listed(services, action_prefix="admin.") == [7]
        assert await listed(services, resource_prefix="namespaces/billing/") == [8]
        assert await listed(services, outcome=pb.AUDIT_OUTCOME_FAILED) == [8]
        assert await listed(services, since_time=stamp(3), until_time=stamp(5)) == [4, 3]
        assert await listed(services, actor="uid:0", since_time=stamp(4), page_size=1) == [8, 7, 4]
        assert await listed(services, actor="nobody") == []


async def test_a_call_looks_at_so_many_records_and_no_more() -> None:
    """A page may be empty, and still not be the last."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 1, action="admin.backup")
        for _ in range(MAX_RECORDS_A_CALL):
            await services.audit.record(Entry("a", "config.update", "r"))
        page = await services.ask("ListAuditRecords", pb.ListAuditRecordsRequest(action_prefix="admin."))
        assert (list(page.records), bool(page.next_page_token)) == ([], True)
        assert await listed(services, action_prefix="admin.") == [1]


async def test_a_search_ends_at_what_is_much_older() -> None:
    """A clock set back by hours hides nothing."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 1)
        services.engine.clock.advance(days=10)
        await fill(services, 1)
        services.engine.clock.advance(hours=-5)
        await fill(services, 1)
        since = Timestamp()
        since.FromDatetime(START + timedelta(days=10))
        assert await listed(services, since_time=since) == [2]


async def test_what_makes_no_sense_is_refused() -> None:
    """With the field's name."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 3)
        page = await services.ask("ListAuditRecords", pb.ListAuditRecordsRequest(page_size=1))
        request = pb.ListAuditRecordsRequest(page_token=page.next_page_token, actor="another")
        assert await reason_of(services, "ListAuditRecords", request) == "PAGE_TOKEN_INVALID"
        for fields in ({"page_size": -1}, {"outcome": 9}, {"since_time": Timestamp(seconds=2**60)}):
            request = pb.ListAuditRecordsRequest(**fields)
            assert await reason_of(services, "ListAuditRecords", request) == "INVALID_FIELD"


async def test_a_watch_tells_of_every_record_and_then_of_new_ones() -> None:
    """With a bookmark in between; each message says where to go on."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 3)
        watch = services.stream("WatchAudit", pb.WatchAuditRequest(after_sequence=1))
        seen = [await anext(watch) for _ in range(3)]
        assert [(one.sequence, one.WhichOneof("event")) for one in seen] == [
            (2, "record"),
            (3, "record"),
            (3, "bookmark"),
        ]
        following = asyncio.ensure_future(anext(watch))
        await fill(services, 1)
        assert (await following).record.sequence == 4
        await watch.aclose()


async def test_a_watch_without_a_sequence_begins_now() -> None:
    """What was there before is not told."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 2)
        watch = services.stream("WatchAudit", pb.WatchAuditRequest())
        first = await anext(watch)
        assert (first.sequence, first.WhichOneof("event")) == (2, "bookmark")
        await watch.aclose()


async def test_a_quiet_watch_says_that_it_is_alive() -> None:
    """A bookmark each heartbeat, and no record is lost over them."""
    async with serving(sources=sources(default={"n": 1}), heartbeat_seconds=0.01) as services:
        watch = services.stream("WatchAudit", pb.WatchAuditRequest())
        assert [(await anext(watch)).WhichOneof("event") for _ in range(3)] == ["bookmark"] * 3
        await fill(services, 1)
        async for message in watch:
            if message.HasField("record"):
                assert message.record.sequence == 1
                break
        await watch.aclose()


@pytest.mark.parametrize("after", [-1, 3])
async def test_a_watch_from_beyond_the_end_is_refused(after: int) -> None:
    """The log that its caller knew was longer: it must hear of that."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 2)
        with pytest.raises(Refused) as caught:
            await anext(services.stream("WatchAudit", pb.WatchAuditRequest(after_sequence=after)))
        assert caught.value.reason == "INVALID_FIELD"


async def test_closing_ends_watches_with_a_farewell() -> None:
    """And the status of a daemon that shuts down."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 1)
        watch = services.stream("WatchAudit", pb.WatchAuditRequest())
        await anext(watch)
        services.auditing.close()
        farewell = await anext(watch)
        assert (farewell.sequence, farewell.WhichOneof("event")) == (1, "end")
        with pytest.raises(Refused) as caught:
            await anext(watch)
        assert caught.value.reason == "SHUTTING_DOWN"


async def test_a_log_that_closes_ends_its_watches() -> None:
    """No watch outlives what it watches."""
    async with serving(sources=sources(default={"n": 1})) as services:
        watch = services.stream("WatchAudit", pb.WatchAuditRequest())
        await anext(watch)
        await services.audit.close()
        assert (await anext(watch)).WhichOneof("event") == "end"
        await watch.aclose()


async def test_the_checkpoint_is_signed_for_all_that_there_is() -> None:
    """By the key that comes with it."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 5)
        answer = await services.ask("GetCheckpoint", pb.GetCheckpointRequest())
        checkpoint = decode_checkpoint(answer.checkpoint.line)
        assert is_signed_by(checkpoint, load_public_key(answer.public_key.encode()))
        assert (answer.sequence, answer.checkpoint.sequence, checkpoint.size) == (5, 5, 5)
        assert (answer.checkpoint.hash, answer.store_id) == (checkpoint.hash, checkpoint.origin)


async def exported(services: Services) -> dict[str, bytes]:
    """Return file -> content of an export."""
    files: dict[str, bytes] = {}
    async for piece in services.stream("ExportAudit", pb.ExportAuditRequest()):
        assert len(piece.chunk) <= CHUNK_BYTES
        files[piece.file] = files.get(piece.file, b"") + piece.chunk
    return files


async def test_an_export_can_be_verified() -> None:
    """It has the key, the checkpoints, and every record."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 400)
        files = await exported(services)
        store_id = services.audit.store_id
    key = load_public_key(files.pop("signing.pub"))
    checkpoints = files.pop("checkpoints.jsonl").splitlines(keepends=True)
    segments = [Segment(name, content.splitlines(keepends=True)) for name, content in files.items()]
    verdict = verify(segments, checkpoints=checkpoints, public_key=key, store_id=store_id)
    assert (verdict.problem, verdict.records, verdict.unsealed) == (None, 400, 0)


async def test_an_export_ends_at_the_newest_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the log grows behind it, also in a segment that begins meanwhile."""
    async with serving(sources=sources(default={"n": 1})) as services:
        await fill(services, 10)
        whole = [one async for one in services.audit.export()]
        lines = b"".join(one.lines for one in whole[1:]).splitlines(keepends=True)

        async def growing(log: MemoryAuditLog) -> Any:
            await log.checkpoint()
            async for excerpt in export(log):
                if excerpt.file == "checkpoints.jsonl":
                    yield excerpt
            yield Excerpt("audit-000000000001.jsonl", b"".join(lines[:6]))
            yield Excerpt("audit-000000000007.jsonl", b"".join(lines[6:] * 3))
            yield Excerpt("audit-000000000019.jsonl", lines[0])

        export = MemoryAuditLog.export
        monkeypatch.setattr(MemoryAuditLog, "export", growing)
        files = await exported(services)
        assert files["audit-000000000007.jsonl"] == b"".join(lines[6:])
        assert "audit-000000000019.jsonl" not in files


async def test_a_backup_is_recorded_before_it_is_sent(tmp_path: Path) -> None:
    """Who took it, at which revision, under which request."""
    async with backing_up(tmp_path) as (services, backup):
        await anext(backup)
        (record,) = await services.audit.read(after=0, limit=10)
        assert (record.actor, record.action, record.resource) == ("user:tester", "admin.backup", "daemon")
        assert (record.facts["backup_revision"], bool(record.request_id)) == (1, True)


async def test_no_backup_without_a_record(tmp_path: Path) -> None:
    """While nothing can be recorded, no copy of everything leaves; configuration goes on."""
    async with backing_up(tmp_path) as (services, backup):
        services.audit.problem = "the disk is full"
        with pytest.raises(Refused) as caught:
            await anext(backup)
        assert (caught.value.reason, "the disk is full" in caught.value.message) == ("AUDIT_UNAVAILABLE", True)
        assert (await services.update(b'{"n":2}')).version == 2


@asynccontextmanager
async def backing_up(place: Path) -> AsyncIterator[tuple[Services, AsyncGenerator[Any, None]]]:
    """Serve a store that can be copied, and begin to copy it."""
    store = await SqliteStore.open(place / "store", history_revisions=100)
    try:
        async with serving(store, sources(default={"n": 1}), scratch=place) as services:
            backup = services.stream("CreateBackup", CreateBackupRequest())
            yield services, backup
            await backup.aclose()
    finally:
        await store.close()
