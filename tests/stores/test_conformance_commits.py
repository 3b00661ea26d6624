"""What every adapter promises of commits and reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stores.adapters import ADAPTERS, Adapter
from vestryd.domain.errors import Conflict, LimitExceeded, StoreUnavailable
from vestryd.domain.store import (
    ABSENT,
    MAX_COMMIT_OPERATIONS,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    Commit,
    Entry,
    Snapshot,
    Store,
)


async def keys(store: Store, prefix: str = "", *, start: str = "", limit: int = 0) -> list[str]:
    """Return the keys that a read finds."""
    return [entry.key for entry in (await store.read(prefix, start=start, limit=limit)).entries]


async def test_new_store_is_empty_at_revision_0(store: Store) -> None:
    """A new store has nothing, at revision 0."""
    assert await store.read("") == Snapshot(0, ())


async def test_ids_are_32_hexadecimal_digits(store: Store) -> None:
    """A store and its incarnation have names of 32 hexadecimal digits."""
    assert len(bytes.fromhex(store.store_id)) == len(bytes.fromhex(store.incarnation)) == 16


async def test_commits_count_up_by_one(store: Store) -> None:
    """Each commit has the revision that is one higher than the last."""
    assert [await store.commit(Commit(puts={"a": b"%d" % number})) for number in range(3)] == [1, 2, 3]


async def test_read_tells_when_an_entry_was_created_and_written(store: Store) -> None:
    """An entry keeps its create_revision while it is overwritten, and gets a new one after a deletion."""
    await store.commit(Commit(puts={"a": b"1"}))
    await store.commit(Commit(puts={"a": b"2"}))
    assert await store.read("a") == Snapshot(2, (Entry("a", b"2", 1, 2),))
    await store.commit(Commit(deletes=frozenset({"a"})))
    await store.commit(Commit(puts={"a": b"3"}))
    assert await store.read("a") == Snapshot(4, (Entry("a", b"3", 4, 4),))


async def test_commit_writes_all_its_keys_at_one_revision(store: Store) -> None:
    """Puts and deletes of one commit share its revision."""
    await store.commit(Commit(puts={"gone": b"", "kept": b""}))
    await store.commit(Commit(puts={"a": b"1", "b": b"2"}, deletes=frozenset({"gone"})))
    assert await store.read("") == Snapshot(
        2, (Entry("a", b"1", 2, 2), Entry("b", b"2", 2, 2), Entry("kept", b"", 1, 1))
    )


async def test_deleting_an_absent_key_is_a_revision(store: Store) -> None:
    """A deletion of an absent key changes nothing and still makes a revision."""
    assert await store.commit(Commit(deletes=frozenset({"nowhere"}))) == 1
    assert await store.read("") == Snapshot(1, ())


@pytest.mark.parametrize("value", [b"", b"\x00", b"\xff" * 100, b"not \x00 text \xc3\x28"])
async def test_value_is_any_bytes(store: Store, value: bytes) -> None:
    """A value comes back as the bytes that it was; an empty one is not an absent one."""
    await store.commit(Commit(puts={"a": value}))
    assert (await store.read("a")).entries[0].value == value


@pytest.mark.parametrize("key", ["é", "\U0010ffff", "a b", "a'; DROP TABLE log; --", "%_", "nul\x00l"])
async def test_key_is_any_text(store: Store, key: str) -> None:
    """A key is any text; it is found again, overwritten and deleted."""
    await store.commit(Commit(expect={key: ABSENT}, puts={key: b"1"}))
    await store.commit(Commit(expect={key: 1}, puts={key: b"2"}))
    assert (await store.read(key)).entries == (Entry(key, b"2", 1, 2),)
    await store.commit(Commit(expect={key: 2}, deletes=frozenset({key})))
    assert (await store.read("")).entries == ()


async def test_read_is_in_the_order_of_utf8(store: Store) -> None:
    """Entries come in the order of their keys' UTF-8 bytes (not, for instance, of UTF-16)."""
    names = ["z", "é", "\uffff", "\U00010000", "a/b", "a", "a-b", "A"]
    await store.commit(Commit(puts=dict.fromkeys(names, b"")))
    assert await keys(store) == sorted(names, key=str.encode)


async def test_read_is_bounded_by_prefix_start_and_limit(store: Store) -> None:
    """A read gives the keys under its prefix, from `start` on, `limit` of them."""
    await store.commit(Commit(puts=dict.fromkeys(["a", "b/1", "b/2", "b/3", "b0", "c"], b"")))
    assert await keys(store, "b/") == ["b/1", "b/2", "b/3"]
    assert await keys(store, "b/", limit=2) == ["b/1", "b/2"]
    assert await keys(store, "b/", start="b/2", limit=5) == ["b/2", "b/3"]
    assert await keys(store, "b/", start="a") == ["b/1", "b/2", "b/3"]
    assert await keys(store, "b/", start="c") == []


@pytest.mark.parametrize("expected", [ABSENT, 1, 3, 99])
async def test_failed_expectation_writes_nothing(store: Store, expected: int) -> None:
    """A commit whose expectation fails raises Conflict and leaves everything as it was."""
    await store.commit(Commit(puts={"a": b"1"}))
    await store.commit(Commit(puts={"a": b"2"}))
    before = await store.read("")
    with pytest.raises(Conflict) as caught:
        await store.commit(Commit(expect={"a": expected}, puts={"a": b"3", "b": b""}, deletes=frozenset({"c"})))
    assert (caught.value.key, caught.value.expected, caught.value.actual) == ("a", expected, 2)
    assert await store.read("") == before
    assert await store.commit(Commit(puts={"a": b"4"})) == 3


async def test_conflict_names_the_first_failed_expectation(store: Store) -> None:
    """Of several expectations that fail, the conflict names the first in the commit's order."""
    await store.commit(Commit(puts={"held": b""}))
    with pytest.raises(Conflict) as caught:
        await store.commit(Commit(expect={"held": 1, "z": 7, "a": 8}, puts={"b": b""}))
    assert (caught.value.key, caught.value.expected, caught.value.actual) == ("z", 7, ABSENT)


async def test_one_of_many_compare_and_swaps_wins(store: Store) -> None:
    """Of concurrent commits with the same expectation, exactly one is written."""
    commits = [Commit(expect={"a": ABSENT}, puts={"a": b"%d" % number}) for number in range(50)]
    outcomes = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1]
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 49
    assert (await store.read("")).revision == 1


async def test_limits_can_be_reached(store: Store) -> None:
    """Values, keys (in UTF-8 bytes) and operations may be as large as the limits."""
    key = "é" * (MAX_KEY_BYTES // 2)
    await store.commit(Commit(puts={key: b"v" * MAX_VALUE_BYTES}))
    assert len((await store.read(key)).entries[0].value) == MAX_VALUE_BYTES
    await store.commit(
        Commit(
            expect={key: 1},
            puts={f"put{number}": b"" for number in range(MAX_COMMIT_OPERATIONS - 2)},
            deletes=frozenset({key}),
        )
    )


@pytest.mark.parametrize(
    ("commit", "limit"),
    [
        (Commit(puts={"a": b"v" * (MAX_VALUE_BYTES + 1)}), MAX_VALUE_BYTES),
        (Commit(puts={"é" * (MAX_KEY_BYTES // 2) + "x": b""}), MAX_KEY_BYTES),
        (Commit(deletes=frozenset({"k" * (MAX_KEY_BYTES + 1)})), MAX_KEY_BYTES),
        (Commit(expect={"k" * (MAX_KEY_BYTES + 1): 0}, puts={"a": b""}), MAX_KEY_BYTES),
        (
            Commit(expect={"a": 0}, puts={f"{number}": b"" for number in range(MAX_COMMIT_OPERATIONS)}),
            MAX_COMMIT_OPERATIONS,
        ),
    ],
    ids=["value", "put key", "deleted key", "expected key", "operations"],
)
async def test_one_over_a_limit_is_refused(store: Store, commit: Commit, limit: int) -> None:
    """One byte or operation over a limit raises LimitExceeded, and nothing is written."""
    with pytest.raises(LimitExceeded) as caught:
        await store.commit(commit)
    assert (caught.value.limit, caught.value.actual) == (limit, limit + 1)
    assert await store.read("") == Snapshot(0, ())


@pytest.mark.parametrize(
    "commit",
    [Commit(), Commit(expect={"a": 0}), Commit(puts={"": b""}), Commit(puts={"a": b""}, deletes=frozenset({"a"}))],
    ids=["empty", "only expects", "empty key", "put and deleted"],
)
async def test_senseless_commit_is_refused(store: Store, commit: Commit) -> None:
    """A commit that makes no sense raises ValueError, and nothing is written."""
    with pytest.raises(ValueError, match=r"a commit|a key"):
        await store.commit(commit)
    assert await store.read("") == Snapshot(0, ())


async def test_cancelled_commit_happens_whole_or_not(store: Store) -> None:
    """Cancelling the callers of commits leaves each one whole or absent, and the store working."""
    names = [f"{number:03}" for number in range(40)]
    tasks = [asyncio.create_task(store.commit(Commit(puts={f"a/{name}": b"1", f"b/{name}": b"1"}))) for name in names]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await store.commit(Commit(puts={"last": b""})) == (await store.read("")).revision
    written = [name.removeprefix("a/") for name in await keys(store, "a/")]
    assert written == [name.removeprefix("b/") for name in await keys(store, "b/")]
    assert {*written} >= {*names[1::2]}


async def test_closed_store_refuses(adapter: Adapter, tmp_path: Path) -> None:
    """After close, which may be called again, every method raises StoreUnavailable."""
    store = await adapter.open(tmp_path)
    await asyncio.gather(store.close(), store.close())
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.read("")
    with pytest.raises(StoreUnavailable):
        await store.commit(Commit(puts={"a": b""}))
    with pytest.raises(StoreUnavailable):
        await anext(store.watch("", after=0))
    with pytest.raises(StoreUnavailable):
        await store.compact(0)
    with pytest.raises(StoreUnavailable):
        await store.figures()


async def test_close_finishes_what_was_accepted(adapter: Adapter, tmp_path: Path) -> None:
    """A commit that is under way when the store is closed is answered, and is there when it is opened again."""
    store = await adapter.open(tmp_path)
    commits = [asyncio.create_task(store.commit(Commit(puts={f"{number}": b""}))) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*commits)) == [*range(1, 21)]
    if adapter.is_durable:
        again = await adapter.open(tmp_path)
        assert (await again.read("")).revision == 20
        await again.close()


@pytest.mark.parametrize("adapter", [adapter for adapter in ADAPTERS if adapter.is_durable], ids=str)
async def test_store_survives_reopening(adapter: Adapter, tmp_path: Path) -> None:
    """A durable store has its entries, revision, ids and history when it is opened again."""
    store = await adapter.open(tmp_path)
    ids = store.store_id, store.incarnation
    await store.commit(Commit(puts={"a": b"1", "b": b"1"}))
    await store.commit(Commit(puts={"a": b"2"}, deletes=frozenset({"b"})))
    snapshot = await store.read("")
    await store.compact(2)
    await store.close()
    store = await adapter.open(tmp_path)
    assert (store.store_id, store.incarnation) == ids
    assert await store.read("") == snapshot
    assert await store.commit(Commit(deletes=frozenset({"a"}))) == 3
    await store.compact(3)
    await store.close()
    store = await adapter.open(tmp_path)
    assert await store.read("") == Snapshot(3, ())
    await store.close()


async def test_figures_name_the_kind(adapter: Adapter, store: Store) -> None:
    """The figures name the adapter, and the bytes on its disk if it has one."""
    await store.commit(Commit(puts={"a": b"v" * 100_000}))
    figures = await store.figures()
    assert figures.kind == adapter.name
    assert (figures.disk_bytes > 100_000) == adapter.is_durable
