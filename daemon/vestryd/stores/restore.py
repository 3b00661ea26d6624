"""Putting a backup in a store's place, while no daemon runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from vestryd.domain.errors import StoreUnavailable, StoreUnusable
from vestryd.stores.files import beside, give_to_owner_of, sync_directory, sync_file
from vestryd.stores.lock import StoreLock
from vestryd.stores.sqlite_file import SIDE_SUFFIXES, begin_database, check_backup, error_name, explained
from vestryd.stores.sqlite_schema import renew_incarnation


def restore(backup: Path, target: Path, *, now: datetime) -> Path | None:
    """Put `backup` in the place of the store at `target`; return where the replaced store is kept, None without one.

    The store keeps the backup's store_id and gets a new incarnation; it belongs to the owner of its directory, also
    when root restores it. Blocks. Raises StoreUnusable when the backup is not one, or when a process uses the target;
    StoreUnavailable when the disk fails; the target then holds what it held, unless only the last sync failed.

    What a crash leaves, step by step: before the last step, the old store at `target`, complete, and perhaps a
    `.restoring` file that the next restore overwrites and a second name for the old store; from the last step on, which
    is one rename, the restored store. There is never a database beside another one's write-ahead log: the old log is
    folded into the old database first. (Only when the old store is too corrupt for that is its log moved away instead;
    a crash then leaves a corrupt store without its log, and the log beside the name that is kept.)
    """
    target = target.resolve()
    check_backup(backup)
    with explained(target):
        lock = StoreLock.acquire(target)
    try:
        give_to_owner_of(target.parent, beside(target, ".lock"))
        return _replace(backup, target, now)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(str(error), str(target)) from error
    finally:
        lock.release()


def _replace(backup: Path, target: Path, now: datetime) -> Path | None:
    restored = beside(target, ".restoring")
    try:
        _build(backup, restored)
        kept = _set_aside(target, now)
        restored.rename(target)
    finally:
        restored.unlink(missing_ok=True)
    sync_directory(target.parent)
    return kept


def _build(backup: Path, restored: Path) -> None:
    """Make `restored` the copy of `backup` that will be the store."""
    begin_database(restored)
    shutil.copyfile(backup, restored)
    with closing(sqlite3.connect(restored, timeout=0, isolation_level=None)) as connection:
        renew_incarnation(connection)
    give_to_owner_of(restored.parent, restored)
    sync_file(restored)


def _set_aside(target: Path, now: datetime) -> Path | None:
    """Give the old store a second name, so that it stays at `target` until it is replaced. Return that name."""
    kept = beside(target, f".before-restore-{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}")
    if target.exists():
        _fold_log(target)
    # None of these is left of a store that could be folded. What is left is evidence, not rubbish: it is kept as well.
    for suffix in SIDE_SUFFIXES:
        if beside(target, suffix).exists():
            beside(target, suffix).rename(beside(kept, suffix))
    if target.exists():
        os.link(target, kept)
    sync_directory(target.parent)
    return kept if target.exists() else None


def _fold_log(target: Path) -> None:
    """Move the old store's write-ahead log into its database, unless it is too corrupt for that."""
    try:
        with closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as connection:
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if error_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return
        raise
    if is_busy:
        raise StoreUnusable(str(target), "another program has it open", "Close that program, then restore again")
