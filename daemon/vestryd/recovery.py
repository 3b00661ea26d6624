"""`vestryd --recover`: for whoever is locked out by the access policy, but has the machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vestry._version import __version__
from vestryd.assembly import open_audit_log, open_store
from vestryd.domain.access import access_kind
from vestryd.domain.audit import AuditLog
from vestryd.domain.auditor import Auditor
from vestryd.domain.documents import Documents
from vestryd.domain.errors import SettingsInvalid, StoreUnusable
from vestryd.domain.layered import Write
from vestryd.domain.policies import recover as recover_policy
from vestryd.domain.proposals import Proposals
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.services.methods import actions, table
from vestryd.settings import Settings

WRITE = Write("vestryd --recover", message="back to the built-in policy: local administrators may do everything")
RECORD_SECONDS = 5.0  # for what the audit log has not heard of yet


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did."""

    version: int
    changed: bool
    is_recorded: bool

    def told(self) -> Iterator[str]:
        """Yield what a person should know of it, line by line."""
        if self.changed:
            yield f"The built-in access policy is in force again, as version {self.version}:"
        else:
            yield f"The built-in access policy was in force already, as version {self.version}:"
        yield "root, and the user that vestryd runs as, may do everything on this machine, and nobody else may do anything."
        yield "Next: start vestryd, correct the policy's files (each is taken in when it is edited), and look at the result"
        yield "with 'vestryctl access show'. What this added lies in the runtime layer: 'vestryctl access edit' removes it."
        if not self.is_recorded:
            yield "The audit log could not be written: the next start of vestryd records this in it."


async def recover(settings: Settings) -> Recovery:
    """Put the built-in policy in force in the settings' store, which no daemon may have open.

    Run by root, the process becomes the owner of the store for good, so that no file of root's stays behind. Raises
    SettingsInvalid, StoreUnusable, StoreUnavailable, RecordDamaged.
    """
    if settings.store.kind == "memory":
        raise SettingsInvalid(("store.kind is memory: a restart of vestryd is all the recovery that there can be",))
    _become_owner(settings.store_path)
    store = await open_store(settings)
    try:
        audit = await open_audit_log(settings, store)
        try:
            return await _recover(settings, store, audit)
        finally:
            await audit.close()
    finally:
        await store.close()


async def _recover(settings: Settings, store: Store, audit: AuditLog) -> Recovery:
    """Change the policy as a daemon would that nobody can reach: down the road of every change, and into the audit log."""
    clock = SystemClock()
    documents = Documents(store, [access_kind(actions(table().values()))])
    await documents.load()
    facts = {"version": __version__, "environment": settings.environment, "run": "recover"}
    auditor = Auditor(audit, store=store, documents=documents, clock=clock, facts=facts)
    tasks = [asyncio.create_task(documents.follow()), asyncio.create_task(auditor.run())]
    try:
        outcome = await recover_policy(documents, Proposals(documents, store, clock), WRITE)
        await auditor.finish(0 if audit.figures().problem else RECORD_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Recovery(outcome.version, outcome.changed, is_recorded=auditor.revision >= documents.revision)


def _become_owner(path: Path) -> None:
    """Give up root's rights for those of the store's owner. Raises StoreUnusable."""
    try:
        owner = path.stat()
    except OSError as error:
        remedy = "Check --state-directory. Where no store is yet, there is no policy to recover from"
        raise StoreUnusable(str(path), error.strerror or "it can't be reached", remedy) from error
    if os.geteuid() == 0 and owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
