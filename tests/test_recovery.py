from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Engine, running
from vestry.audit_record import Record
from vestryd.domain.audit import AuditLog
from vestryd.domain.errors import SettingsInvalid, StoreUnusable
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.host.clock import SystemClock
from vestryd.recovery import recover
from vestryd.settings import Settings
from vestryd.settings.model import Store as StoreSettings
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_ledger import Limits
from vestryd.stores.sqlite import SqliteStore

LOCKING = {
    "rules": {"administrators": None, "alice": {"subjects": ["user:alice"], "actions": ["*"], "resources": ["**"]}}
}


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Engine]:
    """Open the store as a daemon does, and let it go again."""
    settings.state_directory.mkdir(exist_ok=True)
    store = await SqliteStore.open(settings.store_path)
    try:
        async with running(store) as engine:
            yield engine
    finally:
        await store.close()


async def recorded(settings: Settings) -> list[Record]:
    """Return what the audit log holds."""
    store = await SqliteStore.open(settings.store_path)
    limits = Limits(segment_bytes=1 << 20, segment_seconds=3600, checkpoint_seconds=3600)
    log: AuditLog = await FileAuditLog.open(
        settings.audit_directory, store.store_id, clock=SystemClock(), limits=limits
    )
    try:
        return list(await log.read(after=0, limit=1000))
    finally:
        await log.close()
        await store.close()


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """A store whose policy lets only alice in, at version 1."""
    settings = Settings(state_directory=tmp_path / "state")
    async with opened(settings) as engine:
        await engine.policies.patch(LOCKING, Write("tester"))
    return settings


async def test_recovery_puts_the_built_in_policy_in_force(settings: Settings) -> None:
    """As a new version: what was in force before can be looked at, and gone back to."""
    recovery = await recover(settings)
    assert (recovery.version, recovery.changed, recovery.is_recorded) == (2, True, True)
    async with opened(settings) as engine:
        document = engine.policies.find()
        assert document
        assert (document.version.author, document.version.layers) == ("vestryd --recover", {Layer.RUNTIME: BUILT_IN})
        assert (await engine.policies.version(1))[0].author == "tester"


async def test_recovery_is_in_the_audit_log_and_so_is_what_was_not_in_it_yet(settings: Settings) -> None:
    """Right away: whoever has the machine may let themselves in, but not in silence."""
    await recover(settings)
    told = [(one.actor, one.action, one.facts.get("version")) for one in await recorded(settings)]
    assert told[1:3] == [("tester", "access.update", 1), ("vestryd --recover", "access.update", 2)]
    assert [action for _, action, _ in told] == ["daemon.start", "access.update", "access.update", "daemon.stop"]


async def test_recovery_without_an_audit_log_goes_on_and_is_recorded_later(settings: Settings) -> None:
    """A log that can't be opened locks nobody out; the next one who can open it records what is missing."""
    settings.audit_directory.write_text("in the way")
    recovery = await recover(settings)
    assert (recovery.version, recovery.is_recorded) == (2, False)
    assert "the next start of vestryd records this" in "\n".join(recovery.told())
    settings.audit_directory.unlink()
    again = await recover(settings)
    assert (again.version, again.changed, again.is_recorded) == (2, False, True)
    actors = [one.actor for one in await recorded(settings) if one.action == "access.update"]
    assert actors == ["tester", "vestryd --recover"]


async def test_recovery_needs_the_store_for_itself(settings: Settings) -> None:
    """A daemon that runs has to be stopped first."""
    async with opened(settings):
        with pytest.raises(StoreUnusable):
            await recover(settings)


async def test_recovery_needs_a_store(tmp_path: Path) -> None:
    """None is founded by mistake, and one in memory has nothing to recover."""
    with pytest.raises(StoreUnusable, match="No such file or directory"):
        await recover(Settings(state_directory=tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(SettingsInvalid, match="a restart"):
        await recover(Settings(store=StoreSettings(kind="memory")))
