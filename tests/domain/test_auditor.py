from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine import Engine, FakeSources, running
from vestry.audit_record import Outcome, Record
from vestryd.domain.audit import Entry
from vestryd.domain.auditor import MAX_UNTOLD_REVISIONS, Auditor
from vestryd.domain.layered import Write
from vestryd.domain.policies import recover
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.domain.store import Commit
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.memory import MemoryStore

PATIENCE_SECONDS = 10.0
FACTS = {"version": "1.2.3", "environment": "production"}


def log_of(engine: Engine) -> MemoryAuditLog:
    """Return an empty log for an engine's store."""
    return MemoryAuditLog(engine.store.store_id, clock=engine.clock)


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def auditing(engine: Engine, log: MemoryAuditLog, *, finish: bool = True) -> AsyncIterator[Auditor]:
    """Run an auditor; without `finish` it ends as a process that is killed."""
    auditor = Auditor(
        log,
        store=engine.store,
        documents=engine.documents,
        clock=engine.clock,
        facts=FACTS,
        retry_seconds=0.005,
    )
    engine.ingestion.on_rejected = lambda name, rejection: auditor.rejected("config", name, rejection)
    task = asyncio.create_task(auditor.run())
    try:
        yield auditor
        if finish:
            await auditor.finish(PATIENCE_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_of(log: MemoryAuditLog) -> list[Record]:
    """Return every record."""
    return list(await log.read(after=0, limit=1_000_000))


async def told(log: MemoryAuditLog) -> list[tuple[str, object]]:
    """Return (action, version) of every record."""
    return [(one.action, one.facts.get("version")) for one in await all_of(log)]


def files(**contents: object) -> FakeSources:
    """Return the files of the namespace `default`."""
    made = FakeSources()
    made.write("default", **contents)
    return made


async def test_a_change_is_recorded_with_all_that_is_known_of_it() -> None:
    """Who, what, to what, in which version and revision, why, and under which request."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            await engine.ingestion.reload()
            write = Write(author="uid:7", message="why", call_id="r-1")
            await engine.configs.patch("default", {"n": 2}, write)
            await engine.configs.rollback("default", 1, Write(author="uid:8"))
        start, reload, update, rollback, stop = await all_of(log)
    assert (start.actor, start.action, start.resource) == ("vestryd", "daemon.start", "daemon")
    assert start.facts == {**FACTS, "incarnation": engine.store.incarnation, "revision": 0}
    assert (reload.actor, reload.action, reload.facts["message"]) == ("files", "config.reload", "default.json")
    assert (update.actor, update.action, update.resource) == ("uid:7", "config.update", "namespaces/default/config")
    assert (update.outcome, update.request_id) == (Outcome.ALLOWED, "r-1")
    version, _ = await engine.configs.version("default", 2)
    assert update.facts == {
        "version": 2,
        "revision": 2,
        "checksum": version.checksum,
        "committed": version.create_time.isoformat(),
        "layers": "runtime",
        "message": "why",
    }
    assert (rollback.actor, rollback.action, rollback.facts["rollback_of"]) == ("uid:8", "config.rollback", 1)
    assert (stop.action, stop.facts) == ("daemon.stop", {"revision": 3})


async def test_a_refusal_of_files_is_recorded_without_what_is_in_them() -> None:
    """Where and how many, and never a value."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            await engine.ingestion.reload()
            engine.sources.write("default", default=b'{"password": "hunter2')
            await engine.ingestion.reload()
        (record,) = [one for one in await all_of(log) if one.outcome is Outcome.FAILED]
    assert (record.actor, record.action, record.resource) == ("files", "config.reload", "namespaces/default/config")
    assert record.facts.keys() == {"file", "line", "rule", "violations"}
    assert "hunter2" not in str(record)


async def test_changes_of_the_policy_are_recorded_as_those_of_configuration_are() -> None:
    """The resource is the policy, the action says how it was changed, and a refusal of its files is told, too."""
    async with running() as engine:
        log = log_of(engine)
        async with auditing(engine, log) as auditor:
            engine.policies.ingestion.on_rejected = lambda name, why: auditor.rejected("access", name, why)
            engine.policy_sources.write("policy", default=BUILT_IN)
            await engine.policies.ingestion.reload()
            await engine.policies.patch({"roles": {"r": {"actions": ["*"]}}}, Write(author="user:root", call_id="r-1"))
            await engine.policies.rollback(1, Write(author="user:root"))
            await recover(engine.documents, engine.proposals, Write("vestryd --recover"))
            engine.policy_sources.write("policy", default=b"{")
            await engine.policies.ingestion.reload()
        changes = [one for one in await all_of(log) if one.resource == "access"]
    assert sorted((one.actor, one.action, one.outcome, one.facts.get("version")) for one in changes) == [
        ("files", "access.reload", Outcome.ALLOWED, 1),
        ("files", "access.reload", Outcome.FAILED, None),
        ("user:root", "access.rollback", Outcome.ALLOWED, 3),
        ("user:root", "access.update", Outcome.ALLOWED, 2),
        ("vestryd --recover", "access.update", Outcome.ALLOWED, 4),
    ]
    (update,) = [one for one in changes if one.request_id == "r-1"]
    assert update.facts.keys() == {"version", "revision", "checksum", "committed", "layers"}


async def test_what_happened_while_nobody_recorded_is_recorded_at_the_next_start() -> None:
    """Each change once, in order, however the last run ended."""
    store = MemoryStore()
    async with running(store, files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log, finish=False):
            await engine.ingestion.reload()
            await until(lambda: log.last_sequence == 2)
        for number in range(2, 6):
            await engine.configs.patch("default", {"n": number}, Write(author="uid:7"))
        async with auditing(engine, log):
            await engine.configs.patch("default", {"n": 6}, Write(author="uid:7"))
        async with auditing(engine, log):
            pass
        changes = [one.facts["version"] for one in await all_of(log) if one.action.startswith("config.")]
    assert changes == [1, 2, 3, 4, 5, 6]


async def test_how_far_the_log_has_come_is_found_behind_other_records() -> None:
    """Also when thousands tell nothing of it."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            await engine.ingestion.reload()
        for _ in range(2_500):
            await log.record(Entry("a", "admin.backup", "daemon", facts={"backup_revision": 99}))
        await engine.configs.patch("default", {"n": 2}, Write(author="uid:7"))
        async with auditing(engine, log):
            pass
        assert [one for one in await told(log) if one[0].startswith("config.")] == [
            ("config.reload", 1),
            ("config.update", 2),
        ]


async def test_changes_wait_for_a_log_that_refuses_records() -> None:
    """They go on in the store, are said to be missing, and are recorded in order once it works again."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log) as auditor:
            await until(lambda: log.last_sequence == 1)
            log.problem = "the disk is full"
            await engine.ingestion.reload()
            for number in range(2, 5):
                await engine.configs.patch("default", {"n": number}, Write(author="uid:7"))
            await until(lambda: auditor.troubled_since)
            (problem,) = auditor.problems()
            assert "the disk is full" in problem
            assert "4 changes" in problem
            log.problem = ""
            await until(lambda: auditor.behind == 0)
            assert list(auditor.problems()) == []
            assert auditor.troubled_since is None
        assert [version for action, version in await told(log) if action.startswith("config.")] == [1, 2, 3, 4]


async def test_a_refusal_of_files_that_could_not_be_recorded_leaves_a_gap() -> None:
    """The log says how many records are missing."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log) as auditor:
            await engine.ingestion.reload()
            await until(lambda: log.last_sequence == 2)
            log.problem = "the disk is full"
            engine.sources.write("default", default=b"{")
            await engine.ingestion.reload()
            await until(lambda: auditor.behind == 1)
            log.problem = ""
            await until(lambda: auditor.behind == 0)
        (gap,) = [one for one in await all_of(log) if one.action == "audit.gap"]
        assert gap.facts == {"missed": 1}


async def test_what_the_store_has_forgotten_is_told_as_a_gap() -> None:
    """The log does not go on as if nothing had been."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            await engine.ingestion.reload()
        for number in range(2, 6):
            await engine.configs.patch("default", {"n": number}, Write(author="uid:7"))
        await engine.store.compact(4)
        async with auditing(engine, log):
            pass
        records = [one for one in await all_of(log) if not one.action.startswith("daemon.")]
    assert [one.action for one in records] == ["config.reload", "audit.gap", "config.update"]
    assert records[1].facts == {"missed": 3, "revision": 4}
    assert records[2].facts["version"] == 5


async def test_another_incarnation_of_the_store_is_told_at_the_start() -> None:
    """After a restore, revisions don't go on from those in the log: it says which it knew."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            await engine.ingestion.reload()
        before = engine.store.incarnation
    async with running(sources=files(default={"n": 1})) as engine:
        await engine.ingestion.reload()
        async with auditing(engine, log):
            await engine.configs.patch("default", {"n": 2}, Write(author="uid:7"))
    records = await all_of(log)
    start = [one for one in records if one.action == "daemon.start"][-1]
    assert start.facts["previous_incarnation"] == before != start.facts["incarnation"]
    assert (start.facts["previous_revision"], start.facts["revision"]) == (1, 1)
    assert [one.facts["version"] for one in records if one.action == "config.update"] == [2]


async def test_a_store_that_went_backwards_is_told_at_the_start() -> None:
    """An older copy of its file, put back by hand, has its incarnation, but not its revision."""
    async with running(sources=files(default={"n": 1})) as engine:
        log = log_of(engine)
        await log.record(
            Entry("vestryd", "daemon.start", "daemon", facts={"incarnation": engine.store.incarnation, "revision": 9})
        )
        async with auditing(engine, log):
            pass
        start = [one for one in await all_of(log) if one.action == "daemon.start"][-1]
    assert (start.facts["previous_revision"], start.facts["revision"]) == (9, 0)


async def test_many_changes_at_once_are_recorded_in_order() -> None:
    """Each one, in the order of revisions."""
    async with running(sources=files(default={"n": 0})) as engine:
        log = log_of(engine)
        await engine.ingestion.reload()
        async with auditing(engine, log):
            writes = (engine.configs.patch("default", {"n": n}, Write(author="uid:7")) for n in range(1, 601))
            await asyncio.gather(*writes)
        revisions = [one.facts["revision"] for one in await all_of(log) if one.action.startswith("config.")]
    assert revisions == list(range(1, 602))


async def test_the_log_knows_how_far_it_has_come_though_it_has_nothing_to_tell() -> None:
    """Else, after many revisions that are no document's and a kill, it would ask for a history that is gone."""
    async with running(sources=files(default={"n": 0})) as engine:
        log = log_of(engine)
        async with auditing(engine, log):
            for number in range(MAX_UNTOLD_REVISIONS + 1):
                await engine.store.commit(Commit(puts={f"token/{number}": b"x"}))
        told = [int(one.facts["revision"]) for one in await all_of(log) if one.action == "audit.reach"]
    assert told
    assert min(told) >= MAX_UNTOLD_REVISIONS
