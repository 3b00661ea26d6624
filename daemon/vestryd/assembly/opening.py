"""What the daemon opens before anything else: the store, and its audit log."""

from __future__ import annotations

import structlog

from vestryd.domain.audit import AuditLog
from vestryd.domain.errors import AuditUnusable
from vestryd.domain.failpoints import reach
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.settings import Settings
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_ledger import Limits
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.audit_refused import RefusedAuditLog
from vestryd.stores.memory import MemoryStore
from vestryd.stores.sqlite import SqliteStore

MIB = 1024 * 1024
DAY_SECONDS = 86_400

log = structlog.get_logger("vestryd")


async def open_store(settings: Settings) -> Store:
    """Open the store that the settings name. Raises StoreUnusable."""
    if settings.store.kind == "memory":
        return MemoryStore(history_revisions=settings.store.history_revisions)
    return await SqliteStore.open(settings.store_path, history_revisions=settings.store.history_revisions)


async def open_audit_log(settings: Settings, store: Store) -> AuditLog:
    """Open the store's audit log, which is kept where the store is: on disk, or in memory.

    One that can't be opened stops only what needs a record, and is a problem until somebody sees to it.
    """
    if settings.store.kind == "memory":
        return MemoryAuditLog(store.store_id, clock=SystemClock())
    limits = Limits(
        segment_bytes=settings.audit.segment_mebibytes * MIB,
        segment_seconds=settings.audit.segment_days * DAY_SECONDS,
        checkpoint_seconds=settings.audit.checkpoint_seconds,
    )
    try:
        return await FileAuditLog.open(
            settings.audit_directory,
            store.store_id,
            clock=SystemClock(),
            limits=limits,
            reached=lambda step: reach(f"audit.{step}"),
        )
    except AuditUnusable as error:
        log.critical("audit.unusable", path=error.path, problem=error.problem, remedy=error.remedy)
        return RefusedAuditLog(store.store_id, error)
