"""Nobody gets past the guard, and nothing is done without a record."""

from __future__ import annotations

import asyncio

import pytest

from secret_engine import ALICE, running
from vestry.audit_record import Outcome, Record
from vestryd.domain.audit import Entry
from vestryd.domain.errors import AuditUnavailable, PermissionDenied, RecordDamaged
from vestryd.domain.secrets.settings import Settings

NS = "default"


async def test_whoever_may_not_learns_nothing() -> None:
    """Each operation asks the guard first: what is refused is refused alike, whether the secret is there or not."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        verbs = "put update get access list delete undelete destroy rotate export import"
        rig.guard.refused = {f"secrets.{verb}" for verb in verbs.split()}
        before = len(await rig.records())
        for name in ("key", "nothing"):
            for attempt in (
                rig.secrets.put(ALICE, NS, name, content=b"v"),
                rig.secrets.update(ALICE, NS, name, settings=Settings()),
                rig.secrets.access(ALICE, NS, name),
                rig.secrets.resolve(ALICE, f"namespaces/default/secrets/{name}"),
                rig.secrets.rotate(ALICE, NS, name, content=b"v"),
                rig.secrets.delete(ALICE, NS, name),
                rig.secrets.undelete(ALICE, NS, name),
                rig.secrets.destroy(ALICE, NS, name, 1),
                rig.secrets.import_(ALICE, NS, []),
                anext(rig.secrets.export(ALICE, NS, [name], b"p" * 12)),
            ):
                with pytest.raises(PermissionDenied):
                    await attempt
            with pytest.raises(PermissionDenied):
                rig.secrets.get(ALICE, NS, name)
            with pytest.raises(PermissionDenied):
                rig.secrets.versions(ALICE, NS, name)
        with pytest.raises(PermissionDenied):
            rig.secrets.list(ALICE, NS)
        with pytest.raises(PermissionDenied):
            rig.secrets.rotation_status(ALICE, NS)
        assert len(await rig.records()) == before


async def test_no_record_no_deed() -> None:
    """While the audit log can't record, no value is given and nothing is written."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        rig.audit.problem, before = "the disk is full", await rig.entries()
        for attempt in (
            rig.secrets.access(ALICE, NS, "key"),
            rig.secrets.put(ALICE, NS, "key", content=b"w"),
            rig.secrets.delete(ALICE, NS, "key"),
            rig.secrets.rotate(ALICE, NS, "key", content=b"w"),
            anext(rig.secrets.export(ALICE, NS, ["key"], b"long passphrase")),
            rig.vault.rotate_keyring(ALICE),
        ):
            with pytest.raises(AuditUnavailable):
                await attempt
        assert await rig.entries() == before
        rig.audit.problem = ""
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"v"


async def test_the_record_comes_before_the_answer() -> None:
    """An access that waits for its record waits with its value, and the record says who had which version."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v", call_id="c1")
        gate, record = asyncio.Event(), rig.audit.record

        async def slow(entry: Entry) -> Record:
            await gate.wait()
            return await record(entry)

        rig.audit.record = slow  # type: ignore[method-assign]
        access = asyncio.create_task(rig.secrets.access(ALICE, NS, "key", call_id="c2"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not access.done()
        gate.set()
        await access
        put, accessed = (await rig.records("secrets.put"))[0], (await rig.records("secrets.access"))[0]
        assert (put.actor, put.resource, put.request_id) == ("user:alice", "namespaces/default/secrets/key", "c1")
        facts = {"version": 1, "via": "token", "credential": "token 1234"}
        assert (accessed.outcome, accessed.request_id, accessed.facts) == (Outcome.ALLOWED, "c2", facts)


async def test_what_failed_is_recorded_twice() -> None:
    """An access whose record was made, and whose value is damaged, is recorded as failed as well."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        await rig.tamper({"secret-version/default/key/000000000001": b"garbage"})
        with pytest.raises(RecordDamaged):
            await rig.secrets.access(ALICE, NS, "key")
        assert [one.outcome for one in await rig.records("secrets.access")] == [Outcome.ALLOWED, Outcome.FAILED]
