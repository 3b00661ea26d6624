from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from secret_engine import ALICE, restarted, running
from vestryd.domain.errors import (
    InvalidField,
    LimitExceeded,
    RequestIdReused,
    SecretNotFound,
    SecretUnusable,
    VersionMismatch,
    VersionNotFound,
)
from vestryd.domain.identity import Caller, Via
from vestryd.domain.secrets import changes as secret_changes
from vestryd.domain.secrets.events import SecretEvent
from vestryd.domain.secrets.generators import Hex, KeyPair, KeyPairAlgorithm
from vestryd.domain.secrets.heads import Label, VersionState
from vestryd.domain.secrets.settings import Settings

NS = "default"
BOB = Caller("user:bob", Via.TOKEN, frozenset({"user:bob"}), credential="token 5678")


async def test_what_is_put_can_be_had() -> None:
    """A value comes back as it was, whatever bytes it has."""
    async with running() as rig:
        for number, value in enumerate((b"\0", b"\xff" * 65_536, bytes(range(256))), start=1):
            written = await rig.secrets.put(ALICE, NS, "key", content=value)
            accessed = await rig.secrets.access(ALICE, NS, "key")
            assert (accessed.value, accessed.version, written.version) == (value, number, number)


@pytest.mark.parametrize("value", [b"", b"x" * 65_537])
async def test_a_value_has_1_to_65536_bytes(value: bytes) -> None:
    """Empty and too large values are refused, and nothing is written."""
    async with running() as rig:
        with pytest.raises(InvalidField):
            await rig.secrets.put(ALICE, NS, "key", content=value)
        assert not await rig.of_secret("key")


@pytest.mark.parametrize("name", ["", "..", "a..b", "a/b", "a\0b", "é", "x" * 129, "-a"])
async def test_names_are_checked(name: str) -> None:
    """What can't name a secret is refused before anything else."""
    async with running() as rig:
        with pytest.raises(InvalidField):
            await rig.secrets.put(ALICE, NS, name, content=b"v")
        with pytest.raises(InvalidField):
            await rig.secrets.access(ALICE, NS, name)


async def test_versions_are_kept_and_labelled() -> None:
    """The newest put is current, the one before previous, and older ones can be had by number."""
    async with running() as rig:
        for value in (b"1", b"2", b"3"):
            await rig.secrets.put(ALICE, NS, "key", content=value)
        head, versions = rig.secrets.versions(ALICE, NS, "key")
        states = {one.number: head.version_state(one.number) for one in versions}
        assert states == {3: VersionState.CURRENT, 2: VersionState.PREVIOUS, 1: VersionState.OLD}
        assert [one.number for one in versions] == [3, 2, 1]
        for number in (1, 2, 3):
            assert (await rig.secrets.access(ALICE, NS, "key", version=number)).value == str(number).encode()
        with pytest.raises(SecretUnusable, match="grace"):
            await rig.secrets.access(ALICE, NS, "key", label=Label.PREVIOUS)
        with pytest.raises(VersionNotFound):
            await rig.secrets.access(ALICE, NS, "key", version=4)


async def test_an_expired_value_is_not_given() -> None:
    """After its expire_time a secret is unusable, and its metadata is still there."""
    async with running() as rig:
        settings = Settings(expire_time=rig.clock.now() + timedelta(hours=1))
        await rig.secrets.put(ALICE, NS, "key", content=b"v", settings=settings)
        accessed = await rig.secrets.access(ALICE, NS, "key")
        assert accessed.expire_time == settings.expire_time
        rig.clock.advance(hours=1)
        with pytest.raises(SecretUnusable, match="expired"):
            await rig.secrets.access(ALICE, NS, "key")
        assert rig.secrets.get(ALICE, NS, "key").settings == settings


async def test_a_write_can_expect_a_version() -> None:
    """A put, rotation or deletion of a secret whose current version is another one does nothing."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1", expected_version=0)
        with pytest.raises(VersionMismatch) as caught:
            await rig.secrets.put(ALICE, NS, "key", content=b"2", expected_version=0)
        assert (caught.value.kind, caught.value.name, caught.value.actual_version) == ("secret", "default/key", 1)
        with pytest.raises(VersionMismatch):
            await rig.secrets.delete(ALICE, NS, "key", expected_version=7)
        with pytest.raises(VersionMismatch):
            await rig.secrets.rotate(ALICE, NS, "key", content=b"2", expected_version=2)
        assert (await rig.secrets.put(ALICE, NS, "key", content=b"2", expected_version=1)).version == 2


async def test_a_repeated_request_is_answered_again() -> None:
    """The same request_id makes one version, also after a restart; with another value it is refused."""
    async with running() as rig:
        first = await rig.secrets.put(ALICE, NS, "key", content=b"1", request_id="r1")
        again = await rig.secrets.put(ALICE, NS, "key", content=b"1", request_id="r1")
        assert (again.version, again.revision) == (first.version, first.revision)
        for name, content in (("key", b"2"), ("other", b"1")):
            with pytest.raises(RequestIdReused):
                await rig.secrets.put(ALICE, NS, name, content=content, request_id="r1")
        fresh = await restarted(rig)
        assert (await fresh.secrets.put(ALICE, NS, "key", content=b"1", request_id="r1")).version == 1
        assert rig.secrets.get(ALICE, NS, "key").newest == 1


async def test_nobody_is_answered_in_anothers_place() -> None:
    """A request_id that another caller used tells nothing, whether the value was guessed or not, and makes no version."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"hunter2", request_id="r1")
        await rig.secrets.rotate(ALICE, NS, "key", content=b"hunter3", request_id="r2")
        for guess in (b"hunter2", b"hunter1"):
            with pytest.raises(RequestIdReused):
                await rig.secrets.put(BOB, NS, "key", content=guess, request_id="r1")
            with pytest.raises(RequestIdReused):
                await rig.secrets.rotate(BOB, NS, "key", content=b"hunter3", request_id="r2")
        assert rig.secrets.get(ALICE, NS, "key").newest == 2


async def test_a_stored_answer_is_no_oracle() -> None:
    """What is kept of a request tells nobody without the keys whether a guess at the value is right."""
    async with running() as one, running() as other:
        kept = []
        for rig in (one, other):
            await rig.secrets.put(ALICE, NS, "key", content=b"hunter2", request_id="r1")
            kept.append(next(iter((await rig.entries("request/")).values())).value)
        assert kept[0] != kept[1]


async def test_a_deletion_can_be_taken_back() -> None:
    """A deleted secret can't be had, written or rotated; undeleted it is as it was. Both are idempotent."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        assert (await rig.secrets.delete(ALICE, NS, "key")).is_changed
        assert not (await rig.secrets.delete(ALICE, NS, "key")).is_changed
        assert rig.secrets.get(ALICE, NS, "key").is_deleted
        for attempt in (
            rig.secrets.access(ALICE, NS, "key"),
            rig.secrets.put(ALICE, NS, "key", content=b"2"),
            rig.secrets.rotate(ALICE, NS, "key", content=b"2"),
            rig.secrets.update(ALICE, NS, "key", settings=Settings()),
        ):
            with pytest.raises(SecretNotFound, match="undeleted"):
                await attempt
        assert (await rig.secrets.undelete(ALICE, NS, "key")).is_changed
        assert not (await rig.secrets.undelete(ALICE, NS, "key")).is_changed
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"1"


async def test_a_destroyed_version_is_gone_from_the_store() -> None:
    """Its record is deleted and its number never used again; the current version can't be destroyed."""
    async with running() as rig:
        for value in (b"1", b"2"):
            await rig.secrets.put(ALICE, NS, "key", content=value)
        with pytest.raises(SecretUnusable, match="current"):
            await rig.secrets.destroy(ALICE, NS, "key", 2)
        for is_first in (True, False):
            assert (await rig.secrets.destroy(ALICE, NS, "key", 1)).is_changed is is_first
        assert sorted(await rig.of_secret("key")) == ["secret-version/default/key/000000000002", "secret/default/key"]
        with pytest.raises(SecretUnusable, match="destroyed"):
            await rig.secrets.access(ALICE, NS, "key", version=1)
        assert rig.secrets.get(ALICE, NS, "key").previous == 0
        await rig.secrets.delete(ALICE, NS, "key")
        await rig.secrets.destroy(ALICE, NS, "key", 2)
        await rig.secrets.undelete(ALICE, NS, "key")
        with pytest.raises(SecretUnusable, match="no current"):
            await rig.secrets.access(ALICE, NS, "key")
        assert (await rig.secrets.put(ALICE, NS, "key", content=b"3")).version == 3


async def test_old_versions_are_pushed_out() -> None:
    """At most MAX_VERSIONS are kept, and those with a label in any case."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        for _ in range(secret_changes.MAX_VERSIONS + 5):
            await rig.secrets.put(ALICE, NS, "key", content=b"v")
        head = rig.secrets.get(ALICE, NS, "key")
        assert [*head.versions] == [*range(7, 107)]
        assert len(await rig.of_secret("key")) == 101
        with pytest.raises(VersionNotFound, match="7 to 106"):
            await rig.secrets.access(ALICE, NS, "key", version=6)
        assert not (await rig.secrets.destroy(ALICE, NS, "key", 6)).is_changed


async def test_a_namespace_has_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One secret more than MAX_SECRETS is refused, in that namespace alone."""
    monkeypatch.setattr(secret_changes, "MAX_SECRETS", 2)
    async with running() as rig:
        for name in ("a", "b"):
            await rig.secrets.put(ALICE, NS, name, content=b"v")
        with pytest.raises(LimitExceeded):
            await rig.secrets.put(ALICE, NS, "c", content=b"v")
        await rig.secrets.put(ALICE, NS, "b", content=b"v")
        await rig.secrets.put(ALICE, "other", "c", content=b"v")


async def test_settings_are_changed_field_by_field() -> None:
    """An update takes the fields that are named, leaves the others, and knows what doesn't exist."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v", settings=Settings("old", {"team": "a"}))
        wanted = Settings("new", {"team": "b"})
        await rig.secrets.update(ALICE, NS, "key", settings=wanted, fields=frozenset({"description"}))
        assert rig.secrets.get(ALICE, NS, "key").settings == Settings("new", {"team": "a"})
        with pytest.raises(InvalidField, match="colour"):
            await rig.secrets.update(ALICE, NS, "key", settings=wanted, fields=frozenset({"colour"}))
        with pytest.raises(InvalidField, match="tags"):
            await rig.secrets.update(ALICE, NS, "key", settings=Settings(tags={"": "x"}))


async def test_secrets_are_listed_by_name_a_page_at_a_time() -> None:
    """A list is sorted, begins after a name, holds a prefix, and leaves deleted ones out unless asked."""
    async with running() as rig:
        for name in ("b", "a", "db-1", "db-2", "db-3"):
            await rig.secrets.put(ALICE, NS, name, content=b"v")
        await rig.secrets.delete(ALICE, NS, "db-2")

        def names(**options: object) -> list[str]:
            return [head.name for head in rig.secrets.list(ALICE, NS, **options)]  # type: ignore[arg-type]

        assert names() == ["a", "b", "db-1", "db-3"]
        assert names(name_prefix="db-", include_deleted=True) == ["db-1", "db-2", "db-3"]
        assert names(limit=2) == ["a", "b"]
        assert names(after="b", limit=1) == ["db-1"]
        assert names(name_prefix="db-", after="db-1") == ["db-3"]
        assert [head.name for head in rig.secrets.state(NS)] == ["a", "b", "db-1", "db-3"]


async def test_generated_values_stay_inside() -> None:
    """A generator makes the value; the public key of a key pair is known of its version."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "hex", content=Hex(16))
        assert len((await rig.secrets.access(ALICE, NS, "hex")).value) == 32
        await rig.secrets.put(ALICE, NS, "pair", content=KeyPair(KeyPairAlgorithm.ED25519))
        _, versions = rig.secrets.versions(ALICE, NS, "pair")
        assert versions[0].public_key.startswith("-----BEGIN PUBLIC KEY-----")


async def test_watchers_hear_of_every_change() -> None:
    """Each change has its event; wrapping a key again has none."""
    async with running() as rig:
        secrets = rig.secrets
        await secrets.put(ALICE, NS, "key", content=b"1")
        await secrets.put(ALICE, NS, "key", content=b"2")
        await secrets.update(ALICE, NS, "key", settings=Settings("text"))
        await secrets.destroy(ALICE, NS, "key", 1)
        await secrets.delete(ALICE, NS, "key")
        await secrets.undelete(ALICE, NS, "key")
        await rig.vault.rotate_keyring(ALICE)
        await secrets.rewrap.finish()
        assert [change.event for change in rig.changes] == [
            SecretEvent.CURRENT_CHANGED,
            SecretEvent.CURRENT_CHANGED,
            SecretEvent.CHANGED,
            SecretEvent.VERSION_DESTROYED,
            SecretEvent.DELETED,
            SecretEvent.UNDELETED,
        ]
        assert rig.changes[-1].head.current == 2


async def test_a_reference_is_an_access() -> None:
    """What a document refers to is read by the caller's own right, and recorded; other paths are refused."""
    async with running() as rig:
        await rig.secrets.put(ALICE, "billing", "db-password", content=b"v")
        path = "namespaces/billing/secrets/db-password"
        assert (await rig.secrets.resolve(ALICE, path)).value == b"v"
        assert (ALICE.name, "secrets.access", path) in rig.guard.asked
        assert len(await rig.records("secrets.access")) == 1
        for wrong in ("", "db-password", "namespaces//secrets/a", "namespaces/billing/config", path + "/1"):
            with pytest.raises(InvalidField):
                await rig.secrets.resolve(ALICE, wrong)


async def test_nothing_shows_a_value() -> None:
    """No repr of what goes in or comes out holds the value, nor does the log or the store."""
    async with running() as rig:
        canary = b"canary-5f1d"
        written = await rig.secrets.put(ALICE, NS, "key", content=canary, request_id="r")
        accessed = await rig.secrets.access(ALICE, NS, "key")
        shown = repr(written) + repr(accessed) + repr(rig.vault.keys) + repr(await rig.records())
        assert "canary" not in shown
        assert not any(canary in entry.value for entry in (await rig.entries()).values())


async def test_concurrent_writes_all_happen() -> None:
    """Writers at the same time make one version each."""
    async with running() as rig:
        await asyncio.gather(*(rig.secrets.put(ALICE, NS, "key", content=bytes([n])) for n in range(20)))
        head = rig.secrets.get(ALICE, NS, "key")
        assert (head.newest, head.current) == (20, 20)


async def test_a_restart_changes_nothing() -> None:
    """What was acknowledged is there after a crash, and is as it was."""
    async with running() as rig:
        for name in ("a", "b"):
            await rig.secrets.put(ALICE, NS, name, content=name.encode(), settings=Settings("text", {"t": "x"}))
        fresh = await restarted(rig)
        assert fresh.secrets.state(NS) == rig.secrets.state(NS)
        assert (await fresh.secrets.access(ALICE, NS, "b")).value == b"b"
        assert not [*fresh.secrets.problems()]
