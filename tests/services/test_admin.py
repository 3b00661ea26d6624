from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from services.daemon import Refused, serving, sources
from services.secret_calls import keeping, put
from vestry.v1 import admin_pb2 as pb
from vestry.v1 import config_pb2, secrets_pb2
from vestryd.domain.versions import HEADS
from vestryd.services.admin import CHUNK_BYTES, Problem
from vestryd.stores.sqlite import SqliteStore

GET_CONFIG = "/vestry.v1.ConfigService/GetConfig"
WATCH_CONFIG = "/vestry.v1.ConfigService/WatchConfig"


async def test_the_status_tells_what_runs_here() -> None:
    """The version, the store, the addresses, and how much there is."""
    async with serving(sources=sources(default={"n": 1}), listeners=["unix:/run/v.sock", "127.0.0.1:1"]) as services:
        found = await services.ask("GetStatus", pb.GetStatusRequest())
        assert (found.version, found.environment, found.store, found.store_bytes) == (
            "1.2.3",
            "production",
            "memory",
            0,
        )
        assert list(found.listeners) == ["unix:/run/v.sock", "127.0.0.1:1"]
        assert (found.namespaces, found.watchers, found.revision.revision) == (1, 0, 1)


async def test_the_status_tells_what_is_wrong() -> None:
    """With the time since when it is."""
    async with serving(sources=sources(default={"n": 1})) as services:
        now = services.engine.clock.now()
        services.problems.append(Problem("config/default", "its files are rejected", now))
        (found,) = (await services.ask("GetStatus", pb.GetStatusRequest())).problems
        assert (found.component, found.message) == ("config/default", "its files are rejected")
        assert found.since_time.seconds == now.timestamp()


async def test_the_status_has_figures_of_the_methods_that_were_called() -> None:
    """Also of those that have not ended yet; the others are left out."""
    async with serving(sources=sources(default={"n": 1})) as services:
        for namespace in ("", "", "nowhere"):
            try:
                await services.ask("GetConfig", config_pb2.GetConfigRequest(namespace=namespace))
            except Refused:
                continue
        watch = services.stream("WatchConfig", config_pb2.WatchConfigRequest())
        await anext(watch)
        status = await services.ask("GetStatus", pb.GetStatusRequest())
        figures = {one.method: (one.calls, one.failures, one.in_flight) for one in status.methods}
        assert figures == {GET_CONFIG: (3, 1, 0), WATCH_CONFIG: (0, 0, 1), status_path(): (0, 0, 1)}
        assert status.watchers == 1
        await watch.aclose()


def status_path() -> str:
    """Return the path of GetStatus, which is under way while it answers."""
    return "/vestry.v1.AdminService/GetStatus"


async def test_a_store_in_memory_has_no_backup() -> None:
    """Which is told as such."""
    async with serving(sources=sources(default={"n": 1})) as services:
        with pytest.raises(Refused) as caught:
            await anext(services.stream("CreateBackup", pb.CreateBackupRequest()))
        assert caught.value.reason == "BACKUP_UNSUPPORTED"


async def test_a_backup_s_pieces_make_a_store(tmp_path: Path) -> None:
    """In order they are one file of the size told, which opens with what was there; nothing is left behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    store = await SqliteStore.open(tmp_path / "store", history_revisions=100)
    try:
        files = sources(default={"text": "x" * 3 * CHUNK_BYTES})
        async with serving(store, files, scratch=scratch) as services:
            pieces = [one async for one in services.stream("CreateBackup", pb.CreateBackupRequest())]
            copy = b"".join(one.chunk for one in pieces)
            assert len(pieces) > 3
            assert max(len(one.chunk) for one in pieces) <= CHUNK_BYTES
            assert (pieces[0].total_bytes, pieces[0].revision.revision) == (len(copy), store_revision := 1)
            assert not any(one.total_bytes or one.HasField("revision") for one in pieces[1:])
            assert list(scratch.iterdir()) == []
            entries = (await store.read("")).entries
    finally:
        await store.close()
    (tmp_path / "copy").write_bytes(copy)
    opened = await SqliteStore.open(tmp_path / "copy", history_revisions=100)
    try:
        found = await opened.read("")
        assert (found.revision, found.entries) == (store_revision, entries)
        assert [one.key for one in (await opened.read(HEADS)).entries] == ["head/config/default"]
    finally:
        await opened.close()


async def test_a_backup_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    """The file of our own goes with its reader, at once."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    store = await SqliteStore.open(tmp_path / "store", history_revisions=100)
    try:
        async with serving(store, sources(default={"text": "x" * 3 * CHUNK_BYTES}), scratch=scratch) as services:
            backup = services.stream("CreateBackup", pb.CreateBackupRequest())
            await anext(backup)
            assert len(list(scratch.iterdir())) == 1
            await backup.aclose()
            assert list(scratch.iterdir()) == []
    finally:
        await store.close()


async def test_the_status_tells_how_the_secrets_do() -> None:
    """How many there are and what is due; nothing while they are sealed."""
    async with serving() as services:
        assert not (await services.ask("GetStatus", pb.GetStatusRequest())).HasField("secrets")
    async with keeping() as services:
        await put(services, "a")
        await put(services, "a")
        period = secrets_pb2.RotationPolicy(period=Duration(seconds=3600))
        await put(services, "b", settings=secrets_pb2.SecretSettings(rotation=period))
        services.engine.clock.advance(seconds=3700)
        found = (await services.ask("GetStatus", pb.GetStatusRequest())).secrets
        assert (found.secrets, found.versions, found.due, found.overdue, found.damaged) == (2, 3, 1, 0, 0)
