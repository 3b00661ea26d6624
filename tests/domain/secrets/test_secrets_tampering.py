"""What somebody with the database can do, and how it shows."""

from __future__ import annotations

import json

import pytest

from secret_engine import ALICE, Rig, restarted, running
from vestryd.domain.errors import RecordDamaged, SecretNotFound
from vestryd.domain.secrets.heads import MAC_BYTES
from vestryd.domain.secrets.index import INDEX

NS = "default"
HEAD = "secret/default/key"
RECORD = "secret-version/default/key/000000000001"


async def with_secrets(rig: Rig) -> None:
    for name in ("key", "other"):
        await rig.secrets.put(ALICE, NS, name, content=name.encode())


async def assert_damaged(rig: Rig, name: str = "key") -> None:
    """A secret is refused in every way and named, and the other one goes on."""
    with pytest.raises(RecordDamaged):
        rig.secrets.get(ALICE, NS, name)
    with pytest.raises(RecordDamaged):
        await rig.secrets.access(ALICE, NS, name)
    with pytest.raises(RecordDamaged):
        await rig.secrets.put(ALICE, NS, name, content=b"new")
    assert any(f"secret/default/{name}" in problem for problem in rig.secrets.problems())
    assert [head.name for head in rig.secrets.list(ALICE, NS)] == ["other"]
    assert rig.secrets.figures().damaged == 1
    assert (await rig.secrets.access(ALICE, NS, "other")).value == b"other"


async def test_an_edited_head_is_refused() -> None:
    """One changed fact of a head makes it unusable, at once and after a restart; put right again, it works again."""
    async with running() as rig:
        await with_secrets(rig)
        good = (await rig.entries(HEAD))[HEAD].value
        body = json.loads(good[:-MAC_BYTES])
        edited = json.dumps(body | {"newest": 7}, sort_keys=True, separators=(",", ":")).encode() + good[-MAC_BYTES:]
        await rig.tamper({HEAD: edited})
        await assert_damaged(rig)
        await assert_damaged(await restarted(rig))
        await rig.tamper({HEAD: good})
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"key"
        assert not [*rig.secrets.problems()]


@pytest.mark.parametrize("record", [b"", b"x", b"{}" + bytes(32)])
async def test_a_head_of_garbage_is_refused(record: bytes) -> None:
    """What was never a head is named like one that was edited."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.tamper({HEAD: record})
        await assert_damaged(rig)
        await assert_damaged(await restarted(rig))


async def test_a_renamed_secret_is_refused() -> None:
    """A secret that is copied to another name, head and versions, is not one."""
    async with running() as rig:
        await with_secrets(rig)
        copies = {key.replace("/other", "/key"): value for key, value in (await rig.of_secret("other")).items()}
        await rig.tamper(copies)
        await assert_damaged(rig)
        await assert_damaged(await restarted(rig))


async def test_a_copy_under_a_new_name_is_refused() -> None:
    """A name that nobody made is not readable, and its namespace goes on."""
    async with running() as rig:
        await with_secrets(rig)
        copies = {key.replace("/key", "/copy"): value for key, value in (await rig.of_secret("key")).items()}
        await rig.tamper(copies)
        for one in (rig, await restarted(rig)):
            with pytest.raises(RecordDamaged):
                await one.secrets.access(ALICE, NS, "copy")
            assert any("secret/default/copy" in problem for problem in one.secrets.problems())
            assert len(one.secrets.list(ALICE, NS)) == 2


async def test_a_secret_that_is_put_back_is_refused() -> None:
    """An older head with its older records is named while the daemon runs, and seen when it starts."""
    async with running() as rig:
        await with_secrets(rig)
        old = await rig.of_secret("key")
        await rig.secrets.rotate(ALICE, NS, "key", content=b"rotated")
        await rig.tamper(old, deletes=["secret-version/default/key/000000000002"])
        await assert_damaged(rig)
        fresh = await restarted(rig)
        assert [one for one in fresh.secrets.problems() if "earlier state" in one]


async def test_what_does_not_fit_stays_a_problem() -> None:
    """Further writes don't make the index vouch for what was put back: the next start still sees it."""
    async with running() as rig:
        await with_secrets(rig)
        old = await rig.of_secret("key")
        await rig.secrets.put(ALICE, NS, "key", content=b"2")
        await rig.tamper(old)
        await rig.secrets.put(ALICE, NS, "other", content=b"2")
        first = await restarted(rig)
        assert [*first.secrets.problems()]
    async with running(rig.store, rig.clock, rig.audit) as again:
        await again.secrets.put(ALICE, NS, "other", content=b"3")
        await again.secrets.put(ALICE, NS, "third", content=b"3")
        assert [*(await restarted(again)).secrets.problems()]


async def test_an_added_secret_is_named() -> None:
    """A head that the index doesn't know is named after a restart, even one that was authentic once."""
    async with running() as rig:
        await with_secrets(rig)
        edited = {"secret/default/added": (await rig.entries(HEAD))[HEAD].value}
        await rig.tamper(edited)
        fresh = await restarted(rig)
        assert any("secret/default/added" in problem for problem in fresh.secrets.problems())


async def test_what_was_added_and_is_gone_again_leaves_nothing() -> None:
    """Once the stranger's head is taken away, there is no problem any more, and the name is free."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.tamper({"secret/default/added": (await rig.entries(HEAD))[HEAD].value})
        await rig.tamper(deletes=["secret/default/added"])
        assert not [*rig.secrets.problems()]
        assert (await rig.secrets.put(ALICE, NS, "added", content=b"v")).version == 1


async def test_a_removed_secret_is_noticed() -> None:
    """A head that is gone is named while the daemon runs, and counted when it starts."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.tamper(deletes=[HEAD])
        await assert_damaged(rig)
        fresh = await restarted(rig)
        assert any("removed" in problem and "1 at least" in problem for problem in fresh.secrets.problems())
        with pytest.raises(SecretNotFound):
            fresh.secrets.get(ALICE, NS, "key")


async def test_swapped_records_are_refused() -> None:
    """A record opens at its own secret and version only."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.secrets.put(ALICE, NS, "key", content=b"2")
        records = await rig.of_secret("key")
        second = "secret-version/default/key/000000000002"
        await rig.tamper({RECORD: records[second], second: records[RECORD]})
        for number in (1, 2):
            with pytest.raises(RecordDamaged):
                await rig.secrets.access(ALICE, NS, "key", version=number)
        other = (await rig.of_secret("other"))["secret-version/default/other/000000000001"]
        await rig.tamper({RECORD: other})
        with pytest.raises(RecordDamaged):
            await rig.secrets.access(ALICE, NS, "key", version=1)


async def test_a_missing_record_is_damage() -> None:
    """A version whose record is gone is not 'not found'."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.tamper(deletes=[RECORD])
        with pytest.raises(RecordDamaged):
            await rig.secrets.access(ALICE, NS, "key")


async def test_a_destroyed_record_that_is_put_back_stays_destroyed() -> None:
    """The head has the last word about what is destroyed."""
    async with running() as rig:
        await with_secrets(rig)
        record = (await rig.of_secret("key"))[RECORD]
        await rig.secrets.put(ALICE, NS, "key", content=b"2")
        await rig.secrets.destroy(ALICE, NS, "key", 1)
        await rig.tamper({RECORD: record})
        for one in (rig, await restarted(rig)):
            with pytest.raises(Exception, match="destroyed"):
                await one.secrets.access(ALICE, NS, "key", version=1)


@pytest.mark.parametrize("how", ["removed", "older", "garbage"])
async def test_a_tampered_index_is_a_problem(how: str) -> None:
    """An index that is gone, older or not authentic is told of, at once and at the next start; the secrets go on."""
    async with running() as rig:
        await with_secrets(rig)
        old = await rig.index()
        await rig.secrets.put(ALICE, NS, "key", content=b"2")
        puts = {"removed": {}, "older": {INDEX: old}, "garbage": {INDEX: b"x" * 64}}[how]
        await rig.tamper(puts, deletes=[] if puts else [INDEX])
        assert [*rig.secrets.problems()]
        assert [*(await restarted(rig)).secrets.problems()]
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"2"
        await rig.secrets.put(ALICE, NS, "key", content=b"3")
        fresh = await restarted(rig)
        assert (await fresh.secrets.access(ALICE, NS, "key")).value == b"3"
        assert not [*fresh.secrets.problems()]


async def test_without_an_index_nothing_is_vouched_for_later() -> None:
    """Whoever removes the index while the daemon is down can't have the next write hide what was put back."""
    async with running() as rig:
        await with_secrets(rig)
        await rig.tamper(deletes=[INDEX])
    async with running(rig.store, rig.clock, rig.audit) as again:
        assert [*again.secrets.problems()]
        await again.secrets.put(ALICE, NS, "key", content=b"2")
        assert [*(await restarted(again)).secrets.problems()]


async def test_every_byte_of_a_head_and_of_the_index_matters() -> None:
    """One flipped bit anywhere is noticed."""
    async with running() as rig:
        await with_secrets(rig)
        for key in (HEAD, INDEX):
            good = (await rig.entries(key))[key].value
            for place in range(0, len(good), 7):
                flipped = bytearray(good)
                flipped[place] ^= 1
                await rig.tamper({key: bytes(flipped)})
                assert [*(await restarted(rig)).secrets.problems()], (key, place)
            await rig.tamper({key: good})
        assert not [*(await restarted(rig)).secrets.problems()]
