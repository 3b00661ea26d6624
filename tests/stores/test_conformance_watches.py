"""What every adapter promises of watches and of the history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stores.adapters import Adapter, take
from vestryd.domain.errors import Compacted
from vestryd.domain.store import Batch, Commit, Entry, Store


async def put(store: Store, *keys: str) -> int:
    """Commit an empty value for each key."""
    return await store.commit(Commit(puts=dict.fromkeys(keys, b"")))


async def test_watch_replays_and_goes_on(store: Store) -> None:
    """A watch gives the history after its revision, then what is committed, without gap or repetition."""
    for _ in range(5):
        await put(store, "a")
    watch = store.watch("", after=2)
    assert [batch.revision for batch in await take(watch, 2)] == [3, 4]
    for _ in range(3):
        await put(store, "a")
    assert [batch.revision for batch in await take(watch, 4)] == [5, 6, 7, 8]
    waiting = asyncio.create_task(take(watch, 1))
    await put(store, "a")
    assert [batch.revision for batch in await waiting] == [9]
    await watch.aclose()


async def test_batch_is_a_whole_revision(store: Store) -> None:
    """A batch holds every change of its revision: entries for puts, None for deletions, of absent keys as well."""
    await put(store, "a", "b")
    await store.commit(Commit(puts={"a": b"2", "c": b"2"}, deletes=frozenset({"b", "absent"})))
    watch = store.watch("", after=1)
    (batch,) = await take(watch, 1)
    assert batch == Batch(2, {"a": Entry("a", b"2", 1, 2), "c": Entry("c", b"2", 2, 2), "b": None, "absent": None})
    await watch.aclose()


async def test_watch_sees_its_prefix_alone(store: Store) -> None:
    """A watch is given the changes under its prefix; revisions without one are skipped, in the replay and live."""
    watches = [store.watch("b/", after=0)]
    for keys in (["a"], ["b/1", "a"], ["b"], ["c"], ["b/2", "b/1"], ["b0"]):
        await put(store, *keys)
    watches.append(store.watch("b/", after=0))
    for watch in watches:
        assert [(batch.revision, {*batch.changes}) for batch in await take(watch, 2)] == [
            (2, {"b/1"}),
            (5, {"b/1", "b/2"}),
        ]
        await watch.aclose()


async def test_watch_resumes_where_another_ended(store: Store) -> None:
    """A watch after the last revision that another gave goes on from there."""
    for _ in range(4):
        await put(store, "a")
    first = store.watch("", after=0)
    seen = await take(first, 2)
    await first.aclose()
    second = store.watch("", after=seen[-1].revision)
    assert [batch.revision for batch in seen + await take(second, 2)] == [1, 2, 3, 4]
    await second.aclose()


async def test_watch_from_a_read_misses_nothing(store: Store) -> None:
    """A read, then a watch after its revision, together see every commit of concurrent writers once."""

    async def write(name: str) -> None:
        for number in range(20):
            await put(store, f"{name}/{number}")

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(write(name))
        await asyncio.sleep(0)  # to be among the commits, though the rule holds at any moment
        snapshot = await store.read("")
        watch = store.watch("", after=snapshot.revision)
        batches = await take(watch, 80 - snapshot.revision)
    seen = [entry.key for entry in snapshot.entries] + [key for batch in batches for key in batch.changes]
    assert sorted(seen) == sorted(f"{name}/{number}" for name in "abcd" for number in range(20))
    assert [batch.revision for batch in batches] == [*range(snapshot.revision + 1, 81)]
    await watch.aclose()


async def test_watch_of_the_future_is_refused(store: Store) -> None:
    """A watch after a revision that the store hasn't reached raises ValueError."""
    await put(store, "a")
    with pytest.raises(ValueError, match="future"):
        await anext(store.watch("", after=2))


async def test_watch_of_what_is_compacted_is_refused(store: Store) -> None:
    """A watch that needs a compacted revision raises Compacted; one after it gets the rest."""
    for _ in range(5):
        await put(store, "a")
    await store.compact(3)
    with pytest.raises(Compacted) as caught:
        await anext(store.watch("", after=2))
    assert (caught.value.asked, caught.value.oldest) == (2, 3)
    watch = store.watch("", after=3)
    assert [batch.revision for batch in await take(watch, 2)] == [4, 5]
    await watch.aclose()


async def test_compaction_under_a_slow_watch(store: Store) -> None:
    """A watch whose next revisions are compacted while it runs raises Compacted, and skips nothing in silence."""
    for _ in range(4):
        await put(store, "a")
    watch = store.watch("", after=0)
    await take(watch, 1)
    await store.compact(4)
    with pytest.raises(Compacted) as caught:
        await take(watch, 1)
    assert (caught.value.asked, caught.value.oldest) == (1, 4)


async def test_compaction_keeps_current_entries(store: Store) -> None:
    """Compaction takes the history, and no entry, also when entries are overwritten later."""
    await put(store, "a", "b", "c")
    await store.commit(Commit(puts={"b": b"2"}, deletes=frozenset({"c"})))
    await store.compact(2)
    await store.compact(1)  # again, and lower: nothing
    assert (await store.read("")).entries == (Entry("a", b"", 1, 1), Entry("b", b"2", 1, 2))
    await store.commit(Commit(expect={"a": 1}, puts={"a": b"3"}))
    await store.compact(3)
    assert (await store.read("")).entries == (Entry("a", b"3", 1, 3), Entry("b", b"2", 1, 2))


async def test_compaction_of_the_future_is_refused(store: Store) -> None:
    """Compaction above the store's revision raises ValueError."""
    with pytest.raises(ValueError, match="future"):
        await store.compact(1)


async def test_history_is_compacted_by_itself(adapter: Adapter, tmp_path: Path) -> None:
    """A store keeps the last `history_revisions` of history, and not many more."""
    store = await adapter.open(tmp_path, history_revisions=20)
    for _ in range(100):
        await put(store, "a", "b")
    watch = store.watch("", after=80)
    assert [batch.revision for batch in await take(watch, 20)] == [*range(81, 101)]
    with pytest.raises(Compacted):
        await anext(store.watch("", after=70))
    await watch.aclose()
    await store.close()


async def test_watch_ends_when_the_store_is_closed(adapter: Adapter, tmp_path: Path) -> None:
    """Closing a store ends its watches, without an error, after what was committed."""
    store = await adapter.open(tmp_path)
    idle = store.watch("", after=0)
    reading = asyncio.create_task(take(idle, 1))
    await put(store, "a")
    await reading
    waiting = asyncio.create_task(anext(idle, None))
    behind = store.watch("", after=0)
    await asyncio.sleep(0)
    await store.close()
    assert await waiting is None
    assert [batch.revision async for batch in behind] == [1]


async def test_watch_that_is_not_read_costs_the_writers_nothing(store: Store) -> None:
    """Writers go on while a watch isn't read, and it gets everything when it is read again."""
    watch = store.watch("", after=0)
    await put(store, "a")
    await take(watch, 1)
    value = b"v" * 50_000
    for start in range(0, 1500, 50):
        await asyncio.gather(*(store.commit(Commit(puts={f"{start + n}": value})) for n in range(50)))
    assert [batch.revision for batch in await take(watch, 1500)] == [*range(2, 1502)]
    await watch.aclose()
