from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import FakeSources, running
from vestryd.domain.errors import (
    DocumentInvalid,
    DocumentNotFound,
    LimitExceeded,
    RecordDamaged,
    RequestIdReused,
    ShuttingDown,
    VersionMismatch,
    VersionNotFound,
)
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer
from vestryd.domain.store import Commit
from vestryd.domain.versions import Cause
from vestryd.stores.memory import MemoryStore

ME = Write("tester")
SCHEMA = {
    "type": "object",
    "required": ["port"],
    "properties": {"port": {"type": "integer", "maximum": 65535}, "token": {"type": "string", "writeOnly": True}},
}


def sources(**files: Any) -> FakeSources:
    made = FakeSources()
    made.write("default", **files)
    return made


async def test_layers_are_folded_in_their_order() -> None:
    """Default < environment < override < runtime."""
    layers = {"default": {"a": 1, "b": 1, "c": 1, "d": 1}, "environment": {"b": 2, "c": 2, "d": 2}}
    async with running(sources=sources(**layers, override={"c": 3, "d": 3})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"d": 4}, ME)
        assert engine.effective() == {"a": 1, "b": 2, "c": 3, "d": 4}


async def test_a_caller_reads_what_it_wrote() -> None:
    """An outcome comes after readers see it."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        for port in range(2, 20):
            await engine.configs.patch("default", {"port": port}, ME)
            assert engine.effective() == {"port": port}


async def test_an_invalid_change_changes_nothing() -> None:
    """A proposal that breaks the schema leaves version, layers and store as they were."""
    async with running(sources=sources(schema=SCHEMA, default={"port": 1})) as engine:
        await engine.ingestion.reload()
        before, revision = engine.configs.get("default"), engine.documents.revision
        with pytest.raises(DocumentInvalid) as caught:
            await engine.configs.patch("default", {"port": 99999}, ME)
        assert [(one.pointer, one.rule) for one in caught.value.violations] == [("/port", "maximum")]
        assert engine.configs.get("default") is before
        assert (await engine.store.read("")).revision == revision


async def test_a_change_that_says_nothing_new_makes_no_version() -> None:
    """Versions are made by changes, not by calls."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, ME)
        outcome = await engine.configs.patch("default", {"port": 2}, ME)
        assert (outcome.version, outcome.changed, outcome.patch) == (2, False, [])


async def test_one_and_true_are_different_documents() -> None:
    """Python takes 1 for true and for 1.0; JSON doesn't."""
    async with running(sources=sources(default={"flag": 1})) as engine:
        await engine.ingestion.reload()
        assert (await engine.configs.patch("default", {"flag": True}, ME)).changed
        assert (await engine.configs.patch("default", {"flag": 1.0}, ME)).changed


async def test_expected_version_guards_a_change() -> None:
    """A caller that decided on an old version hears of it, and nothing is changed."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, Write("a", expected_version=1))
        with pytest.raises(VersionMismatch) as caught:
            await engine.configs.patch("default", {"port": 3}, Write("b", expected_version=1))
        assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
        assert engine.effective() == {"port": 2}


async def test_a_dry_run_tells_and_does_nothing() -> None:
    """dry_run answers the version and the patch that would be."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        outcome = await engine.configs.patch("default", {"port": 2}, Write("a", dry_run=True))
        assert (outcome.version, outcome.changed) == (2, True)
        assert outcome.patch == [{"op": "replace", "path": "/port", "value": 2}]
        assert engine.effective() == {"port": 1}


async def test_concurrent_changes_all_happen() -> None:
    """Changes to one document are made one after another; none is lost."""
    async with running(sources=sources(default={})) as engine:
        await engine.ingestion.reload()
        await asyncio.gather(*(engine.configs.patch("default", {f"k{n}": n}, ME) for n in range(50)))
        assert engine.effective() == {f"k{n}": n for n in range(50)}
        assert engine.configs.get("default").version.number == 51


async def test_two_engines_over_one_store_see_the_same() -> None:
    """Several daemons share a store: each sees the other's changes, and racing changes are all made."""
    store = MemoryStore()
    async with running(store, sources(default={})) as one:
        await one.ingestion.reload()
        async with running(store, sources(default={})) as other:
            writes = [engine.configs.patch("default", {f"k{n}": n}, ME) for n in range(10) for engine in (one, other)]
            outcomes = await asyncio.gather(*writes)
            newest = max(outcome.revision for outcome in outcomes)
            await asyncio.gather(one.documents.until(newest), other.documents.until(newest))
            assert one.effective() == other.effective() == {f"k{n}": n for n in range(10)}


async def test_a_restart_sees_what_was_there() -> None:
    """A new engine over the same store reads the same documents, schema included, before any file."""
    store = MemoryStore()
    async with running(store, sources(schema=SCHEMA, default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, ME)
        before = engine.configs.get("default")
    async with running(store) as engine:
        after = engine.configs.get("default")
        assert (after.version, after.encoded, after.revision) == (before.version, before.encoded, before.revision)
        with pytest.raises(DocumentInvalid):
            await engine.configs.patch("default", {"port": "x"}, ME)


async def test_rollback_makes_a_new_version_with_old_layers() -> None:
    """History is never rewritten."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, ME)
        outcome = await engine.configs.rollback("default", 1, ME)
        assert (outcome.version, engine.effective()) == (3, {"port": 1})
        version = engine.configs.get("default").version
        assert (version.cause, version.rollback_of, version.changed_layers) == (Cause.ROLLBACK, 1, (Layer.RUNTIME,))


async def test_a_rollback_must_meet_todays_schema() -> None:
    """What was valid once need not be now."""
    files = sources(default={"port": 1})
    async with running(sources=files) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 70000}, ME)
        await engine.configs.patch("default", {"port": 3}, ME)
        files.write("default", schema=SCHEMA)
        await engine.ingestion.reload()
        with pytest.raises(DocumentInvalid):
            await engine.configs.rollback("default", 2, ME)
        assert engine.effective() == {"port": 3}


async def test_unknown_names_and_versions_are_told() -> None:
    """The error says what is there."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        with pytest.raises(DocumentNotFound):
            await engine.configs.patch("nowhere", {}, ME)
        with pytest.raises(VersionNotFound) as caught:
            await engine.configs.version("default", 7)
        assert (caught.value.oldest, caught.value.newest) == (1, 1)


async def test_versions_are_listed_newest_first() -> None:
    """Any page of the history can be read."""
    async with running(sources=sources(default={"port": 0})) as engine:
        await engine.ingestion.reload()
        for port in range(1, 10):
            await engine.configs.patch("default", {"port": port}, ME)
        found = await engine.configs.versions("default", newest=7, limit=3)
        assert [version.number for version, _ in found] == [7, 6, 5]
        assert [version.effective["port"] for version, _ in found] == [6, 5, 4]
        assert await engine.configs.versions("default", newest=0, limit=3) == []


async def test_a_document_over_the_limit_is_refused() -> None:
    """A version with its layers fits the store, or is not made."""
    async with running(sources=sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        with pytest.raises(LimitExceeded):
            await engine.configs.patch("default", {"text": "x" * 1_100_000}, ME)
        assert engine.effective() == {"port": 1}


async def test_compacted_history_is_read_again() -> None:
    """An engine that falls behind the store's history reads everything again, and tells what changed."""
    store = MemoryStore(history_revisions=2)
    async with running(store, sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        async with running(store, sources(default={"port": 1})) as other:
            engine.applied.clear()
            for port in range(2, 12):  # no await point lets the first engine's follower run in between
                await other.configs.patch("default", {"port": port}, ME)
            await engine.documents.until(other.documents.revision)
            assert engine.effective() == {"port": 11}
            assert engine.applied[-1][1][0].version.number == 11


class TestRequestIds:
    """A write with a request_id can be repeated."""

    async def test_a_repetition_gets_the_first_answer(self) -> None:
        """Also when others have written since, and nothing is written twice."""
        async with running(sources=sources(default={"n": 0})) as engine:
            await engine.ingestion.reload()
            write = Write("a", request_id="r1", fingerprint="f")
            first = await engine.configs.patch("default", {"n": 1}, write)
            await engine.configs.patch("default", {"n": 2}, ME)
            again = await engine.configs.patch("default", {"n": 1}, write)
            assert (again.version, again.changed, again.patch) == (first.version, first.changed, first.patch)
            assert again.revision == first.revision
            assert engine.effective() == {"n": 2}

    async def test_a_repetition_with_an_old_expected_version_gets_the_first_answer(self) -> None:
        """The expectation was met when the request was first made."""
        async with running(sources=sources(default={"n": 0})) as engine:
            await engine.ingestion.reload()
            write = Write("a", request_id="r1", fingerprint="f", expected_version=1)
            first = await engine.configs.patch("default", {"n": 1}, write)
            assert (await engine.configs.patch("default", {"n": 1}, write)).version == first.version == 2

    async def test_a_request_that_changed_nothing_is_remembered_too(self) -> None:
        """Its repetition must not do what the first one didn't."""
        async with running(sources=sources(default={"n": 0})) as engine:
            await engine.ingestion.reload()
            write = Write("a", request_id="r1", fingerprint="f")
            await engine.configs.patch("default", {"m": None}, write)
            await engine.configs.patch("default", {"m": 5}, ME)
            again = await engine.configs.patch("default", {"m": None}, write)
            assert (again.version, again.changed) == (1, False)
            assert engine.effective() == {"n": 0, "m": 5}

    async def test_an_id_is_for_one_request(self) -> None:
        """A different request under the same id is refused."""
        async with running(sources=sources(default={"n": 0})) as engine:
            await engine.ingestion.reload()
            await engine.configs.patch("default", {"n": 1}, Write("a", request_id="r1", fingerprint="f"))
            with pytest.raises(RequestIdReused):
                await engine.configs.patch("default", {"n": 2}, Write("a", request_id="r1", fingerprint="g"))

    async def test_concurrent_repetitions_happen_once(self) -> None:
        """A client that retries while the first try is under way changes nothing twice."""
        async with running(sources=sources(default={"n": 0})) as engine:
            await engine.ingestion.reload()
            write = Write("a", request_id="r1", fingerprint="f")
            outcomes = await asyncio.gather(*(engine.configs.patch("default", {"n": 1}, write) for _ in range(8)))
            assert {(one.version, one.changed) for one in outcomes} == {(2, True)}
            assert engine.configs.get("default").version.number == 2


class Recorder(MemoryStore):
    """A store that remembers what was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []

    async def commit(self, commit: Commit) -> int:
        self.commits.append(commit)
        return await super().commit(commit)


async def test_a_schema_is_stored_once() -> None:
    """A version names its schema by checksum; the schema itself is written when it changes."""
    store = Recorder()
    async with running(store, sources(schema=SCHEMA, default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, ME)
        assert [sum(key.startswith("schema/") for key in one.puts) for one in store.commits] == [1, 0]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("patch"), st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 3))),
            st.tuples(st.just("rollback"), st.integers(1, 12)),
        ),
        max_size=12,
    )
)
def test_any_history_replays_to_the_same_documents(steps: list[tuple[str, Any]]) -> None:
    """Whatever is done, a second engine that only follows the store, and a third that loads it, see the same."""

    async def scenario() -> None:
        store = MemoryStore()
        async with running(store, sources(default={"a": 0})) as writer, running(store) as follower:
            await writer.ingestion.reload()
            for what, argument in steps:
                if what == "patch":
                    await writer.configs.patch("default", argument, ME)
                elif argument <= writer.configs.get("default").version.number:
                    await writer.configs.rollback("default", argument, ME)
            await follower.documents.until(writer.documents.revision)
            async with running(store) as late:
                seen = [engine.configs.get("default") for engine in (writer, follower, late)]
                assert len({one.encoded for one in seen}) == 1
                assert len({one.version.number for one in seen}) == 1
                assert len({tuple(sorted(one.version.folded.provenance.items())) for one in seen}) == 1

    asyncio.run(scenario())


async def test_a_damaged_version_is_named() -> None:
    """A version that doesn't add up to its checksum is never served: SQLite has no checksums of its own."""
    store = MemoryStore()
    async with running(store, sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"port": 2}, ME)
        key = "version/config/default/000000000001"
        record = (await store.read(key)).entries[0].value
        await store.commit(Commit(puts={key: record.replace(b'"port":1', b'"port":7')}))
        with pytest.raises(RecordDamaged) as caught:
            await engine.configs.version("default", 1)
        assert (caught.value.name, caught.value.version) == ("default", 1)


async def test_documents_of_an_unknown_kind_are_let_be() -> None:
    """What a newer release left in the store harms nobody."""
    store = MemoryStore()
    await store.commit(Commit(puts={"head/robot/marvin": b"{}"}))
    async with running(store, sources(default={"port": 1})) as engine:
        await engine.ingestion.reload()
        await store.commit(Commit(puts={"head/robot/marvin": b'{"version":42}'}))
        await engine.configs.patch("default", {"port": 2}, ME)
        assert engine.effective() == {"port": 2}


async def test_who_waits_for_a_revision_hears_of_the_end() -> None:
    """A write that is under way when the daemon stops is told so, and does not hang."""
    async with running(sources=sources(default={"port": 1})) as engine:
        waiting = asyncio.ensure_future(engine.documents.until(99))
        await asyncio.sleep(0)
        await engine.store.close()
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await engine.documents.until(99)
