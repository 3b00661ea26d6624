from __future__ import annotations

import asyncio

import pytest

from secret_engine import ALICE, KEY_FILE, Rig, eventually, restarted, running
from vestry.audit_record import Record
from vestryd.domain.audit import Entry
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.sealing.envelope import term_of
from vestryd.domain.sealing.keyring import TermState
from vestryd.domain.secrets import registry as secret_registry
from vestryd.domain.secrets import rewrap as secret_rewrap
from vestryd.domain.secrets.heads import VERSIONS
from vestryd.domain.store import Commit
from vestryd.stores.memory import MemoryStore

NS = "default"


async def fill(rig: Rig, count: int = 120) -> None:
    for number in range(count):
        await rig.secrets.put(ALICE, f"ns-{number % 3}", f"key.{number}", content=str(number).encode())


async def terms(rig: Rig) -> set[int]:
    return {term_of(entry.value) for entry in (await rig.entries(VERSIONS)).values()}


def states(rig: Rig) -> list[TermState]:
    return [term.state for term in rig.vault.keyring.terms]


async def assert_all_there(rig: Rig, count: int = 120) -> None:
    for number in range(count):
        accessed = await rig.secrets.access(ALICE, f"ns-{number % 3}", f"key.{number}")
        assert accessed.value == str(number).encode()


async def test_everything_is_wrapped_by_the_new_term() -> None:
    """After a rotation every version moves to the new term, and the old term's key is erased."""
    async with running() as rig:
        await fill(rig)
        for _ in range(3):
            await rig.secrets.put(ALICE, NS, "many", content=b"v")
        await rig.vault.rotate_keyring(ALICE)
        before = rig.secrets.rewrap.progress(ALICE)
        assert (before.remaining, before.done) == (123, 0)
        await rig.secrets.rewrap.finish()
        after = rig.secrets.rewrap.progress(ALICE)
        assert (after.remaining, after.done, after.problem) == (0, 123, "")
        assert [(one.state, one.versions) for one in after.terms] == [(TermState.RETIRED, 0), (TermState.ACTIVE, 123)]
        assert [one.wraps for one in after.terms] == [123, 123]
        assert await terms(rig) == {2}
        await assert_all_there(rig)
        fresh = await restarted(rig)
        await assert_all_there(fresh)
        assert not [*fresh.secrets.problems()]


class SlowToAnswer(MemoryStore):
    """Answers a commit when its watchers have heard of it already, as a store on a disk may."""

    async def commit(self, commit: Commit) -> int:
        revision = await super().commit(commit)
        for _ in range(20):
            await asyncio.sleep(0)
        return revision


async def test_what_was_done_is_counted_until_the_next_rotation() -> None:
    """The old term's retirement, heard of from the store, is no rotation."""
    async with running(SlowToAnswer()) as rig:
        await fill(rig, 6)
        await rig.vault.rotate_keyring(ALICE)
        await rig.secrets.rewrap.finish()
        assert states(rig) == [TermState.RETIRED, TermState.ACTIVE]
        assert rig.secrets.rewrap.progress(ALICE).done == 6


async def test_the_task_does_it_while_others_read_and_write() -> None:
    """The background task finishes, and neither readers nor writers notice."""
    async with running() as rig:
        await fill(rig, 60)
        task = asyncio.create_task(rig.secrets.run_rewrap())
        for _ in range(3):
            await rig.vault.rotate_keyring(ALICE)
            await asyncio.gather(
                *(rig.secrets.put(ALICE, NS, f"new-{n}", content=b"v") for n in range(5)), assert_all_there(rig, 60)
            )
        await eventually(lambda: rig.vault.keyring.terms[-2].state is TermState.RETIRED)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await terms(rig) == {4}
        assert [term.state for term in rig.vault.keyring.terms][:3] == [TermState.RETIRED] * 3
        await assert_all_there(rig, 60)


async def test_what_a_crash_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each batch everything decrypts, and a new start does what is left."""
    monkeypatch.setattr(secret_rewrap, "BATCH", 7)
    async with running() as rig:
        await fill(rig, 30)
        await rig.vault.rotate_keyring(ALICE)
        whole, left = rig.store.commit, 2

        async def failing(commit: Commit) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreUnavailable("the disk is full")
            return await whole(commit)

        rig.store.commit = failing  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await rig.secrets.rewrap.finish()
        rig.store.commit = whole  # type: ignore[method-assign]
        assert await terms(rig) == {1, 2}
        await assert_all_there(rig, 30)
    async with running(rig.store, rig.clock, rig.audit) as fresh:
        await assert_all_there(fresh, 30)
        remaining = fresh.secrets.rewrap.progress(ALICE).remaining
        assert 0 < remaining < 30
        await fresh.secrets.rewrap.finish()
        assert fresh.secrets.rewrap.progress(ALICE).done == remaining
        await assert_all_there(fresh, 30)


async def test_a_damaged_record_stops_nothing_but_its_term() -> None:
    """What can't be wrapped again is named, the others are, and the old key stays."""
    async with running() as rig:
        await fill(rig, 10)
        damaged = f"{VERSIONS}ns-0/key.3/000000000001"
        missing = f"{VERSIONS}ns-2/key.8/000000000001"
        await rig.tamper({damaged: b"garbage"}, deletes=[missing])
        await rig.vault.rotate_keyring(ALICE)
        await rig.secrets.rewrap.finish()
        progress = rig.secrets.rewrap.progress(ALICE)
        assert (progress.remaining, progress.done) == (2, 8)
        assert "key.3" in progress.problem
        assert "1 more" in progress.problem
        assert rig.vault.keyring.terms[0].state is TermState.DECRYPT_ONLY


async def test_a_head_that_is_damaged_meanwhile_stops_nothing() -> None:
    """A secret whose head is changed by somebody else after the wrapping began is left, and named; the task goes on."""
    async with running() as rig:
        await fill(rig, 6)
        await rig.vault.rotate_keyring(ALICE)
        left = await rig.secrets.rewrap._left("ns-0")
        await rig.tamper({"secret/ns-0/key.3": b"garbage"})
        await rig.secrets.rewrap._wrap(left)
        assert "key.3" in rig.secrets.rewrap.problem
        assert rig.secrets.rewrap.progress(ALICE).done == 1


async def test_no_key_is_erased_while_something_may_be_missing() -> None:
    """With a damaged head the old terms stay: the right head may come back from a backup, and need them."""
    async with running() as rig:
        await fill(rig, 4)
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        whole = await rig.of_secret("key")
        await rig.tamper({"secret/default/key": b"garbage"})
    async with running(rig.store, rig.clock, rig.audit) as fresh:
        await fresh.vault.rotate_keyring(ALICE)
        await fresh.secrets.rewrap.finish()
        assert states(fresh) == [TermState.DECRYPT_ONLY, TermState.ACTIVE]
        await fresh.tamper(whole)
        assert (await fresh.secrets.access(ALICE, NS, "key")).value == b"v"
        await fresh.secrets.rewrap.finish()
        assert states(fresh) == [TermState.RETIRED, TermState.ACTIVE]
        assert (await fresh.secrets.access(ALICE, NS, "key")).value == b"v"


async def test_a_worn_term_rotates_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A term that wrapped MAX_WRAPS times makes room for the next one, and all moves there."""
    async with running() as rig:
        task = asyncio.create_task(rig.secrets.run_rewrap())
        await fill(rig, 4)
        monkeypatch.setattr(secret_registry, "MAX_WRAPS", 5)
        await rig.secrets.put(ALICE, NS, "last", content=b"v")
        await eventually(lambda: rig.vault.keyring.terms[0].state is TermState.RETIRED)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await rig.records("keyring.rotate"))[0].actor == "vestryd"
        await assert_all_there(rig, 4)


async def test_a_write_under_a_term_that_is_retired_meanwhile_is_tried_again() -> None:
    """Nothing is ever stored under a key that is erased: who began under it begins again."""
    async with running() as rig:
        record, gate, reached = rig.audit.record, asyncio.Event(), asyncio.Event()

        async def slow(entry: Entry) -> Record:
            if entry.action == "secrets.put" and not reached.is_set():
                reached.set()
                await gate.wait()
            return await record(entry)

        rig.audit.record = slow  # type: ignore[method-assign]
        put = asyncio.create_task(rig.secrets.put(ALICE, NS, "key", content=b"v"))
        await reached.wait()
        await rig.vault.rotate_keyring(ALICE)
        await rig.vault.retire(1, expect={})
        gate.set()
        await put
        assert await terms(rig) == {2}
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"v"


async def test_a_sealed_vault_wraps_nothing() -> None:
    """The task waits while it is sealed, and goes on once it is open."""
    async with running() as rig:
        await fill(rig, 5)
        await rig.vault.rotate_keyring(ALICE)
        await rig.vault.seal(ALICE)
        task = asyncio.create_task(rig.secrets.run_rewrap())
        await asyncio.sleep(0)
        assert await terms(rig) == {1}
        await rig.vault.unseal(ALICE, [KEY_FILE])
        await eventually(lambda: rig.secrets.rewrap.progress(ALICE).done == 5)
        assert await terms(rig) == {2}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
