from __future__ import annotations

import pytest

from secret_engine import ALICE, FakeGuard, Rig, running
from vestryd.domain.errors import (
    InvalidField,
    LimitExceeded,
    PermissionDenied,
    RecordDamaged,
    SecretNotFound,
    UnlockRefused,
    VersionMismatch,
)
from vestryd.domain.identity import Caller
from vestryd.domain.secrets.settings import Settings
from vestryd.domain.secrets.transfer import ExportedFile, ImportConflict, ImportItem, ImportOutcome

NS = "default"
PASSPHRASE = b"correct horse battery"


async def export(rig: Rig, *names: str) -> list[ExportedFile]:
    return [file async for file in rig.secrets.export(ALICE, NS, names, PASSPHRASE)]


async def value(rig: Rig, name: str) -> bytes:
    return (await rig.secrets.access(ALICE, NS, name)).value


async def test_many_come_in_at_once() -> None:
    """Thirty secrets are one commit, each with a record of its own."""
    async with running() as rig:
        items = [ImportItem(f"name-{n}", f"value {n}".encode()) for n in range(30)]
        revision = rig.secrets.revision
        imported = await rig.secrets.import_(ALICE, NS, items, call_id="c")
        assert rig.secrets.revision == revision + 1
        assert {(one.outcome, one.version) for one in imported} == {(ImportOutcome.CREATED, 1)}
        assert [await value(rig, f"name-{n}") for n in range(30)] == [item.value for item in items]
        records = [one for one in await rig.records("secrets.import") if "version" in one.facts]
        assert len(records) == 30
        assert records[3].resource == "namespaces/default/secrets/name-3"


async def test_thirty_full_secrets_can_be_replaced() -> None:
    """Also when each pushes out an old version, the import fits into one commit."""
    async with running() as rig:
        for round_number in range(102):
            items = [ImportItem(f"name-{n}", f"{round_number}".encode()) for n in range(30)]
            await rig.secrets.import_(ALICE, NS, items, conflict=ImportConflict.REPLACE)
        assert rig.secrets.get(ALICE, NS, "name-7").newest == 102
        assert await value(rig, "name-29") == b"101"


async def test_a_conflict_is_refused_skipped_or_replaced() -> None:
    """What is there with another value goes by the caller's choice; the same value stays in any case."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "a", content=b"1")
        await rig.secrets.put(ALICE, NS, "b", content=b"1")
        items = [ImportItem("a", b"1"), ImportItem("b", b"2"), ImportItem("c", b"3")]
        before = await rig.entries()
        with pytest.raises(VersionMismatch, match="default/b"):
            await rig.secrets.import_(ALICE, NS, items)
        assert await rig.entries() == before
        skipped = await rig.secrets.import_(ALICE, NS, items, conflict=ImportConflict.SKIP)
        outcomes = [ImportOutcome.UNCHANGED, ImportOutcome.SKIPPED, ImportOutcome.CREATED]
        assert [one.outcome for one in skipped] == outcomes
        replaced = await rig.secrets.import_(ALICE, NS, items, conflict=ImportConflict.REPLACE)
        assert [(one.outcome, one.version) for one in replaced] == [
            (ImportOutcome.UNCHANGED, 1),
            (ImportOutcome.REPLACED, 2),
            (ImportOutcome.UNCHANGED, 1),
        ]


async def test_a_trial_changes_nothing_and_is_recorded() -> None:
    """A dry run answers what would happen; since it compares values, the log has it."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "a", content=b"1")
        before = await rig.entries()
        items = [ImportItem("a", b"1"), ImportItem("b", b"2")]
        imported = await rig.secrets.import_(ALICE, NS, items, dry_run=True)
        assert [one.outcome for one in imported] == [ImportOutcome.UNCHANGED, ImportOutcome.CREATED]
        assert await rig.entries() == before
        assert (await rig.records("secrets.import"))[-1].facts["dry_run"] is True


async def test_exported_files_come_back() -> None:
    """What is exported can be imported elsewhere under the passphrase, with its settings."""
    async with running() as rig, running() as other:
        await rig.secrets.put(ALICE, NS, "a", content=b"\0\xff", settings=Settings("text", {"team": "x"}))
        await rig.secrets.put(ALICE, NS, "b", content=b"2")
        await rig.secrets.put(ALICE, NS, "gone", content=b"3")
        await rig.secrets.delete(ALICE, NS, "gone")
        files = await export(rig)
        assert [(file.name, file.version) for file in files] == [("a", 1), ("b", 1)]
        assert [one.resource for one in await rig.records("secrets.export")] == [
            "namespaces/default/secrets/a",
            "namespaces/default/secrets/b",
        ]
        items = [ImportItem(file=file.file) for file in files]
        with pytest.raises(UnlockRefused):
            await other.secrets.import_(ALICE, NS, items, passphrase=b"another passphrase")
        await other.secrets.import_(ALICE, NS, items, passphrase=PASSPHRASE)
        assert (await value(other, "a"), await value(other, "b")) == (b"\0\xff", b"2")
        assert other.secrets.get(ALICE, NS, "a").settings == Settings("text", {"team": "x"})
        with pytest.raises(InvalidField, match="namespace 'default'"):
            await other.secrets.import_(ALICE, "elsewhere", items, passphrase=PASSPHRASE)
        renamed = [ImportItem(name="c", file=files[0].file)]
        with pytest.raises(InvalidField, match="holds 'a'"):
            await other.secrets.import_(ALICE, NS, renamed, passphrase=PASSPHRASE)


async def test_an_export_asks_for_what_there_is() -> None:
    """A name that isn't there is refused before the first file; a short passphrase too; damage ends it."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "a", content=b"1")
        with pytest.raises(SecretNotFound):
            await export(rig, "a", "nothing")
        with pytest.raises(UnlockRefused):
            await anext(rig.secrets.export(ALICE, NS, ["a"], b"short"))
        assert not await rig.records("secrets.export")
        await rig.tamper({"secret-version/default/a/000000000001": b"garbage"})
        with pytest.raises(RecordDamaged):
            await export(rig)


async def test_an_import_that_cannot_be_is_refused_whole() -> None:
    """No items, too many, a name twice, a bad name or value, a deleted secret: nothing is taken in."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "deleted", content=b"1")
        await rig.secrets.delete(ALICE, NS, "deleted")
        before = await rig.entries()
        good = ImportItem("a", b"1")
        for items, error in (
            ([], InvalidField),
            ([ImportItem(f"n{n}", b"v") for n in range(31)], LimitExceeded),
            ([good, good], InvalidField),
            ([good, ImportItem("b/c", b"1")], InvalidField),
            ([good, ImportItem("b", b"")], InvalidField),
            ([good, ImportItem("b")], InvalidField),
            ([good, ImportItem("b", b"1", b"file")], InvalidField),
            ([good, ImportItem(file=b"no file")], InvalidField),
            ([good, ImportItem("deleted", b"2")], SecretNotFound),
        ):
            with pytest.raises(error):
                await rig.secrets.import_(ALICE, NS, items, passphrase=PASSPHRASE)
        assert await rig.entries() == before


class Selective(FakeGuard):
    """Refuses single actions on single secrets."""

    def require(self, caller: Caller, action: str, resource: str) -> None:
        super().require(caller, action, resource)
        if (action, resource) in {
            ("secrets.access", "namespaces/default/secrets/root-key"),
            ("secrets.put", "namespaces/default/secrets/root-key"),
        }:
            raise PermissionDenied(caller.name, action, resource, "a rule denies it")


async def test_an_export_gives_nothing_away_that_may_not_be_accessed() -> None:
    """Not among all secrets, not by name, and it doesn't tell whether a secret that may not be accessed is there."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "a", content=b"1")
        await rig.secrets.put(ALICE, NS, "root-key", content=b"2")
        rig.secrets._guard = Selective()
        for names in ((), ("a", "root-key"), ("root-key", "nothing")):
            with pytest.raises(PermissionDenied, match="a rule denies it"):
                await export(rig, *names)
        assert not await rig.records("secrets.export")
        assert [one.name for one in await export(rig, "a")] == ["a"]


async def test_an_export_that_loses_its_right_ends() -> None:
    """Each secret is asked about again when its turn comes."""
    async with running() as rig:
        for name in ("a", "root-key"):
            await rig.secrets.put(ALICE, NS, name, content=b"1")
        exported = rig.secrets.export(ALICE, NS, (), PASSPHRASE)
        assert (await anext(exported)).name == "a"
        rig.secrets._guard = Selective()
        with pytest.raises(PermissionDenied):
            await anext(exported)


async def test_an_import_writes_nothing_that_may_not_be_put() -> None:
    """Neither a value nor a file, whatever the file is called; and a trial compares nothing."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "root-key", content=b"2")
        (file,) = await export(rig, "root-key")
        rig.secrets._guard = Selective()
        before = await rig.entries()
        for item in (ImportItem("root-key", b"mine"), ImportItem(file=file.file)):
            for dry_run in (True, False):
                with pytest.raises(PermissionDenied):
                    await rig.secrets.import_(
                        ALICE,
                        NS,
                        [ImportItem("b", b"1"), item],
                        passphrase=PASSPHRASE,
                        conflict=ImportConflict.REPLACE,
                        dry_run=dry_run,
                    )
        assert await rig.entries() == before
