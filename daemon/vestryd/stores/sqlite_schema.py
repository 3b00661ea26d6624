"""The tables of the SQLite store, and how they came to be what they are."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

# In the header of each store's file (https://www.sqlite.org/fileformat2.html#application_id): "Vsty".
APPLICATION_ID = 0x56737479

# A change's `position` is its revision times this, plus its place within the revision. One B-tree then serves to find a
# value, to replay in order and to compact. It must exceed MAX_COMMIT_OPERATIONS.
POSITIONS_PER_REVISION = 1024

# Each brings the schema one version further. What was released is never edited.
_MIGRATIONS = (
    """
    CREATE TABLE store (
      only INTEGER PRIMARY KEY CHECK (only = 1),
      store_id TEXT NOT NULL,
      incarnation TEXT NOT NULL,
      compacted_revision INTEGER NOT NULL
    ) STRICT;

    -- Every change, once: what is current, and the history above compacted_revision.
    CREATE TABLE log (
      position INTEGER PRIMARY KEY,
      key TEXT NOT NULL,
      create_revision INTEGER,  -- NULL for a deletion
      value BLOB                -- NULL for a deletion
    ) STRICT;

    -- Where in the log each key that exists was last written.
    CREATE TABLE current (
      key TEXT PRIMARY KEY,
      create_revision INTEGER NOT NULL,
      position INTEGER NOT NULL REFERENCES log (position)
    ) STRICT, WITHOUT ROWID;
    """,
)

SCHEMA_VERSION = len(_MIGRATIONS)


def found_store(connection: sqlite3.Connection) -> None:
    """Make an empty database a new store."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(connection)
    connection.execute("INSERT INTO store VALUES (1, ?, ?, 0)", (uuid4().hex, uuid4().hex))


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to SCHEMA_VERSION. Each step is a transaction: it happens or not, whole."""
    for version, script in enumerate(_MIGRATIONS, start=1):
        if version > schema_version(connection):
            connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {version}; COMMIT;")


def schema_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the database has had."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def renew_incarnation(connection: sqlite3.Connection) -> None:
    """Give the store a new incarnation, so that what was read before a restore can't pass for its present."""
    connection.execute("UPDATE store SET incarnation = ?", (uuid4().hex,))
