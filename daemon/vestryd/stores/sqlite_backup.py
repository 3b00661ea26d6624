"""A copy of a store's database, made while it is in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from vestryd.stores.files import sync_directory, sync_file
from vestryd.stores.sqlite_file import begin_database
from vestryd.stores.sqlite_log import Log

_PAGES_PER_STEP = 256  # a MiB


def copy_pages(log: Log, copy: Path, *, between: Callable[[], None]) -> int:
    """Copy the database to `copy` step by step, calling `between` between two of them; return the copy's revision.

    What `between` commits goes into the copy as well: SQLite writes the pages that one connection changes into the
    backup that the same connection makes (https://www.sqlite.org/c3ref/backup_finish.html). When `between` raises, the
    copy ends. The copy is one file; it isn't synced yet.
    """

    def step_done(_status: int, remaining: int, _total: int) -> None:
        if remaining:  # what is committed after the last step is not in the copy, and so must not be in its revision
            between()

    begin_database(copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        # A copy that fails is thrown away, so nothing needs undoing, and the whole is synced at its end.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        log.connection.backup(target, pages=_PAGES_PER_STEP, progress=step_done)
    return log.revision


def publish(copy: Path, path: Path) -> None:
    """Sync the finished copy and give it its name."""
    sync_file(copy)
    copy.rename(path)
    sync_directory(path.parent)
