"""A store's file: found, opened, verified; or refused with a reason that a person can act on."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from vestryd.domain.errors import StoreUnusable
from vestryd.stores.files import PRIVATE, beside, create_private, size_of, sync_directory, sync_file
from vestryd.stores.sqlite_schema import APPLICATION_ID, SCHEMA_VERSION, found_store, migrate, schema_version

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
# What SQLite may leave beside a database: the rest of a transaction, which belongs to that database and to no other.
SIDE_SUFFIXES = ("-journal", "-wal", "-shm")

_RESTORE = "Restore a backup: vestryctl backup restore"

# errno -> what is wrong, and what to do
_FILE_PROBLEMS = {
    errno.EACCES: ("permission is denied", "Give the file and its directory to the user of vestryd"),
    errno.EPERM: ("permission is denied", "Give the file and its directory to the user of vestryd"),
    errno.EROFS: ("its file system is read-only", "Mount it for writing, or choose another state directory"),
    errno.EISDIR: ("it is a directory", "Name a file"),
    errno.ENOENT: ("its directory does not exist", "Create the directory, or choose another state directory"),
    errno.ENOTDIR: ("its directory is not a directory", "Choose another state directory"),
    errno.ENOSPC: ("the disk is full", "Free some space"),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system or SQLite says against `path` into StoreUnusable."""
    try:
        yield
    except OSError as error:
        problem, remedy = _FILE_PROBLEMS.get(
            error.errno or 0, (error.strerror or str(error), "See to the disk, then start again")
        )
        raise StoreUnusable(str(path), problem, remedy) from error
    except sqlite3.Error as error:
        raise StoreUnusable(str(path), *_sqlite_problem(error)) from error


def open_database(path: Path) -> sqlite3.Connection:
    """Open the store at `path`, or found it there; verified and at this release's schema.

    The caller holds the store's lock. Raises StoreUnusable; a file that is not a store is left as it was.
    """
    with explained(path):
        if path.exists():
            _check_header(path)
            path.chmod(PRIVATE)
        else:
            _found(path)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            _configure(connection)
            verify(connection, path)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def begin_database(path: Path) -> None:
    """Put an empty private file at `path`, in place of what an earlier attempt may have left there and beside it."""
    for suffix in SIDE_SUFFIXES:
        beside(path, suffix).unlink(missing_ok=True)
    create_private(path)


def error_name(error: sqlite3.Error) -> str:
    """Return SQLite's name for an error, or Python's for one that the sqlite3 module raised itself."""
    return getattr(error, "sqlite_errorname", type(error).__name__)


def check_backup(path: Path) -> None:
    """Verify the backup at `path` without writing beside it. Raises StoreUnusable."""
    with explained(path):
        if not path.exists():
            raise StoreUnusable(str(path), "there is no such file", "Name a backup that vestryctl backup create made")
        _check_header(path, flags=os.O_RDONLY)
        if size_of(beside(path, "-wal")):
            raise StoreUnusable(
                str(path),
                "a -wal file lies beside it, so it is part of a store in use, not a backup",
                "Make one: vestryctl backup create",
            )
        location = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(location, uri=True, timeout=0, isolation_level=None)) as connection:
            verify(connection, path)


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreUnusable unless the database is whole, ours, and not from a newer release."""
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            str(path),
            f"it has schema version {version}, this release knows up to {SCHEMA_VERSION}",
            "Start the newer release that wrote it",
        )
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)") if row[0] != "ok"]
    if not problems and connection.execute("PRAGMA foreign_key_check").fetchone():
        problems = ["a current entry has no value"]
    if not problems and not connection.execute("SELECT 1 FROM store").fetchone():
        problems = ["its identity is gone"]
    if problems:
        raise StoreUnusable(str(path), f"it is corrupt ({'; '.join(problems)})", _RESTORE)


def _check_header(path: Path, *, flags: int = os.O_RDWR) -> None:
    """Refuse what is not a store before SQLite opens it, for to open a database may be to write to it.

    The file must not be open in this process: closing a second descriptor would drop SQLite's own locks on it.
    """
    descriptor = os.open(path, flags)
    try:
        header = os.read(descriptor, _HEADER_BYTES)
    finally:
        os.close(descriptor)
    if not header.startswith(_MAGIC):
        problem = "it is not an SQLite database" if header else "it is empty"
        raise StoreUnusable(str(path), problem, f"{_RESTORE}, or move the file away to begin with an empty store")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreUnusable(
            str(path), "it is the database of another application", "Choose another file, and leave this one alone"
        )


def _found(path: Path) -> None:
    """Create a new store at `path`, whole or not at all: it is made under another name and renamed."""
    if size_of(beside(path, "-wal")):
        raise StoreUnusable(str(path), "the file is gone, but its -wal file is there", _RESTORE)
    unborn = beside(path, ".new")
    begin_database(unborn)
    with closing(sqlite3.connect(unborn, isolation_level=None)) as connection:
        found_store(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    sync_file(unborn)
    unborn.rename(path)
    sync_directory(path.parent)


def _configure(connection: sqlite3.Connection) -> None:
    # Exclusive: no other program gets in while the store is open, which also rules out the WAL-reset bug of SQLite
    # before 3.51.3 (it takes a second connection), and the WAL's index stays in memory.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer checkpoints, after it has answered
    connection.execute("PRAGMA trusted_schema = OFF")


def _sqlite_problem(error: sqlite3.Error) -> tuple[str, str]:
    name = error_name(error)
    if name.startswith("SQLITE_BUSY"):
        return "another program has it open", "Close that program, then start again"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"it is corrupt ({error})", _RESTORE
    return f"{error} ({name})", "See to the disk, then start again"
