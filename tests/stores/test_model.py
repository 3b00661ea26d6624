"""Each adapter next to a model of the port, driven by hypothesis."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from stores.adapters import ADAPTERS, Adapter, open_sqlite
from vestryd.domain.errors import Compacted, Conflict
from vestryd.domain.store import ABSENT, Batch, Commit, Entry, Snapshot
from vestryd.stores import sqlite, sqlite_log

T = TypeVar("T")

KEYS = st.sampled_from(["a", "a/1", "a/2", "a/é", "b/1", "b/2", "b\U0001f600", "c"])
PREFIXES = st.sampled_from(["", "a", "a/", "b/", "b", "none/"])
VALUES = st.binary(max_size=4)
EXPECTED = st.sampled_from(["right", "right", "right", "absent", "stale", "none"])


@dataclass
class Watched:
    """A watch that is open: where it stands, and what it must still give."""

    generator: AsyncGenerator[Batch, None]
    prefix: str
    cursor: int


class Model:
    """The port, as plainly as it can be said: every revision's batch, and the entries now."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.entries: dict[str, Entry] = {}
        self.compacted = 0

    @property
    def revision(self) -> int:
        """The newest revision."""
        return len(self.batches)

    def first_failure(self, expect: Mapping[str, int]) -> tuple[str, int, int] | None:
        """Return the key, the expected and the actual revision of the first expectation that fails."""
        for key, expected in expect.items():
            actual = self.entries[key].mod_revision if key in self.entries else ABSENT
            if actual != expected:
                return key, expected, actual
        return None

    def apply(self, commit: Commit) -> None:
        """Write the next revision."""
        revision = self.revision + 1
        changes: dict[str, Entry | None] = {}
        for key, value in commit.puts.items():
            created = self.entries[key].create_revision if key in self.entries else revision
            self.entries[key] = changes[key] = Entry(key, value, created, revision)
        for key in commit.deletes:
            self.entries.pop(key, None)
            changes[key] = None
        self.batches.append(Batch(revision, changes))

    def read(self, prefix: str, start: str, limit: int) -> Snapshot:
        """Read as the port does."""
        chosen = [e for e in self.entries.values() if e.key.startswith(prefix) and e.key.encode() >= start.encode()]
        chosen.sort(key=lambda entry: entry.key.encode())
        return Snapshot(self.revision, tuple(chosen[: limit or None]))

    def after(self, revision: int, prefix: str) -> list[Batch]:
        """Return what a watch has to give."""
        parts = [
            Batch(batch.revision, {key: entry for key, entry in batch.changes.items() if key.startswith(prefix)})
            for batch in self.batches[revision:]
        ]
        return [part for part in parts if part.changes]


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to the model, and compares."""

    adapter: Adapter

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.watches: list[Watched] = []
        self.store = self.run(self.adapter.open(Path(self.place.name)))

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Wait for the store."""
        return self.loop.run_until_complete(asyncio.wait_for(what, 10))

    def expected_revision(self, key: str, how: str) -> int:
        """Return a mod_revision to expect of a key."""
        entry = self.model.entries.get(key)
        right = entry.mod_revision if entry else ABSENT
        return {"right": right, "absent": ABSENT, "stale": max(0, right - 1)}[how]

    @rule(
        puts=st.dictionaries(KEYS, VALUES, max_size=3),
        deletes=st.frozensets(KEYS, max_size=2),
        expectations=st.dictionaries(KEYS, EXPECTED, max_size=3),
    )
    def commit(self, puts: dict[str, bytes], deletes: frozenset[str], expectations: dict[str, str]) -> None:
        """A commit is written, or names the first expectation that fails."""
        expect = {key: self.expected_revision(key, how) for key, how in expectations.items() if how != "none"}
        commit = Commit(expect=expect, puts=puts, deletes=deletes - puts.keys())
        if not commit.puts and not commit.deletes:
            return
        failure = self.model.first_failure(expect)
        if failure is None:
            assert self.run(self.store.commit(commit)) == self.model.revision + 1
            self.model.apply(commit)
        else:
            with pytest.raises(Conflict) as caught:
                self.run(self.store.commit(commit))
            assert (caught.value.key, caught.value.expected, caught.value.actual) == failure

    @rule(group=st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), min_size=2, max_size=6))
    def commit_concurrently(self, group: list[dict[str, bytes]]) -> None:
        """Concurrent commits get the next revisions, in some order."""
        commits = [Commit(puts=puts) for puts in group]

        async def all_at_once() -> list[int]:
            return await asyncio.gather(*map(self.store.commit, commits))

        revisions = self.run(all_at_once())
        assert sorted(revisions) == [*range(self.model.revision + 1, self.model.revision + 1 + len(group))]
        for _, commit in sorted(zip(revisions, commits, strict=True), key=lambda pair: pair[0]):
            self.model.apply(commit)

    @rule(prefix=PREFIXES, start=st.one_of(st.just(""), KEYS), limit=st.integers(0, 4))
    def read(self, prefix: str, start: str, limit: int) -> None:
        """A read finds what is there."""
        assert self.run(self.store.read(prefix, start=start, limit=limit)) == self.model.read(prefix, start, limit)

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def open_watch(self, prefix: str, back: int) -> None:
        """A watch may begin anywhere."""
        after = max(0, self.model.revision - back)
        self.watches.append(Watched(self.store.watch(prefix, after=after), prefix, after))

    @precondition(lambda self: self.watches)
    @rule(data=st.data(), count=st.integers(1, 20))
    def drain(self, data: st.DataObject, count: int) -> None:
        """A watch gives what comes next, or says that it is gone."""
        self.read_on(data.draw(st.sampled_from(self.watches)), count)

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def close_watch(self, data: st.DataObject) -> None:
        """A watch may end anywhere."""
        watched = data.draw(st.sampled_from(self.watches))
        self.watches.remove(watched)
        self.run(watched.generator.aclose())

    @rule(back=st.integers(0, 8))
    def compact(self, back: int) -> None:
        """History may be compacted at any time."""
        revision = max(0, self.model.revision - back)
        self.run(self.store.compact(revision))
        self.model.compacted = max(self.model.compacted, revision)

    @precondition(lambda self: self.model.compacted)
    @rule(prefix=PREFIXES)
    def watch_what_is_compacted(self, prefix: str) -> None:
        """A watch of what is gone is refused."""
        with pytest.raises(Compacted):
            self.run(anext(self.store.watch(prefix, after=self.model.compacted - 1)))

    @precondition(lambda self: self.adapter.is_durable)
    @rule()
    def reopen(self) -> None:
        """A durable store is the same after it was closed and opened."""
        ids = self.store.store_id, self.store.incarnation
        self.run(self.store.close())
        for watched in self.watches:
            self.run(watched.generator.aclose())
        self.watches.clear()
        self.store = self.run(self.adapter.open(Path(self.place.name)))
        assert (self.store.store_id, self.store.incarnation) == ids

    def teardown(self) -> None:
        """Show that no watch repeats itself: the next that each gives is the last commit. Then take all down."""
        last = Commit(puts={"a/end": b"", "b/end": b"", "none/end": b""})
        for watched in [*self.watches]:
            self.read_on(watched)
        self.run(self.store.commit(last))
        self.model.apply(last)
        for watched in [*self.watches]:
            self.read_on(watched)
            self.run(watched.generator.aclose())
        self.run(self.store.close())
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.place.cleanup()

    def read_on(self, watched: Watched, count: int | None = None) -> None:
        """Compare the next batches of a watch, or all that it has; forget the watch when they are gone."""
        for batch in self.model.after(watched.cursor, watched.prefix)[:count]:
            given = self.next_of(watched)
            if isinstance(given, Compacted):
                assert watched.cursor < self.model.compacted == given.oldest
                self.watches.remove(watched)
                return
            assert given == batch
            watched.cursor = batch.revision

    def next_of(self, watched: Watched) -> Batch | Compacted:
        """Return what a watch gives next, or why not."""
        try:
            return self.run(anext(watched.generator))
        except Compacted as compacted:
            return compacted


def run_machine(adapter: Adapter) -> None:
    """Let hypothesis drive the adapter."""
    machine = type("Machine", (StoreMachine,), {"adapter": adapter})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_store_does_what_the_model_does(adapter: Adapter) -> None:
    """Whatever is done to it in whatever order, a store answers as the model of the port does."""
    run_machine(adapter)


def test_sqlite_does_so_when_it_holds_little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds when nearly every watch has to go back to the file, a few changes at a time."""
    monkeypatch.setattr(sqlite, "_WINDOW_REVISIONS", 2)
    monkeypatch.setattr(sqlite, "_COMPACTION_REVISIONS", 2)
    monkeypatch.setattr(sqlite_log, "_STRETCH_CHANGES", 3)
    monkeypatch.setattr(sqlite_log, "_ROWS_PER_STATEMENT", 4)
    run_machine(Adapter("sqlite", is_durable=True, open=open_sqlite))
