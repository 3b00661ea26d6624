"""The store's tables at work: an append-only log of changes, and pointers to those that are current."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, groupby
from typing import Any, NamedTuple

from vestryd.domain.errors import Compacted, Conflict
from vestryd.domain.store import Batch, Commit, Entry, Snapshot
from vestryd.stores.drafting import Stamped, draft
from vestryd.stores.following import Stretch
from vestryd.stores.sqlite_schema import POSITIONS_PER_REVISION

# What one replay reads at most, but for the revision that it is in.
_STRETCH_BYTES = 4 * 1024 * 1024
_STRETCH_CHANGES = 1000

# Statements take many rows each: SQLite lets go of the interpreter lock at every step, and with a busy event loop each
# return to it costs up to a loop's turn (measured at 128 commits a group: 1.3 ms against 6.9 with a statement a row).
# Row counts are powers of two up to this, so that few texts are prepared and they stay in sqlite3's cache of 128.
_ROWS_PER_STATEMENT = 128


class Identity(NamedTuple):
    """Which store this is, and how far it had come when it was opened."""

    store_id: str
    incarnation: str
    revision: int


class Stamp(NamedTuple):
    """What `current` says of a key. Satisfies Stamped."""

    create_revision: int
    position: int

    @property
    def mod_revision(self) -> int:
        """The revision that wrote the key last."""
        return self.position // POSITIONS_PER_REVISION


class Log:
    """The revisions of one open database. Blocking; for the one thread that owns the connection.

    A change is stored once. It is kept while it is current, or while its revision is in the history: `compact` deletes
    what the history lets go of, and `append` what stops being current below that.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.compacted: int = connection.execute("SELECT compacted_revision FROM store").fetchone()[0]
        newest: int = connection.execute("SELECT max(position) FROM log").fetchone()[0] or 0
        self.revision: int = max(self.compacted, newest // POSITIONS_PER_REVISION)

    def identify(self) -> Identity:
        """Tell which store this is, and its revision now."""
        store_id, incarnation = self.connection.execute("SELECT store_id, incarnation FROM store").fetchone()
        return Identity(store_id, incarnation, self.revision)

    def read(self, prefix: str, start: str, limit: int) -> Snapshot:
        """Answer the port's `read`."""
        entries: list[Entry] = []
        rows = self.connection.execute(
            "SELECT current.key, value, current.create_revision, position FROM current JOIN log USING (position)"
            " WHERE current.key >= ? ORDER BY current.key",
            (max(prefix, start),),
        )
        with closing(rows):
            for key, value, created, position in rows:
                if not key.startswith(prefix):
                    break
                entries.append(Entry(key, value, created, position // POSITIONS_PER_REVISION))
                if len(entries) == limit:
                    break
        return Snapshot(self.revision, tuple(entries))

    def append(self, commits: Sequence[Commit]) -> list[Batch | Conflict]:
        """Write each commit as a revision of its own, all in one transaction.

        A Conflict in a commit's place means that this one wrote nothing. When SQLite fails, none did.
        """
        with self._transaction():
            stamps = self._stamps(
                {key for commit in commits for key in (*commit.expect, *commit.puts, *commit.deletes)}
            )
            outcomes = _draft_in_turn(commits, self.revision, stamps)
            batches = [outcome for outcome in outcomes if isinstance(outcome, Batch)]
            self._write(batches, stamps)
        if batches:
            self.revision = batches[-1].revision
        return outcomes

    def replay(self, prefix: str, after: int) -> Stretch:
        """Return the next stretch of history after a revision. Raises Compacted when it is gone."""
        if after < self.compacted:
            raise Compacted(after, self.compacted)
        batches: list[Batch] = []
        changes_read = bytes_read = 0
        rows = self.connection.execute(
            "SELECT position, key, value, create_revision FROM log WHERE position >= ? ORDER BY position",
            (_first_position(after + 1),),
        )
        with closing(rows):
            for revision, changed in groupby(rows, key=lambda row: row[0] // POSITIONS_PER_REVISION):
                if changes_read >= _STRETCH_CHANGES or bytes_read >= _STRETCH_BYTES:
                    return Stretch(tuple(batches), revision - 1)
                changes: dict[str, Entry | None] = {}
                for _, key, value, created in changed:
                    changes_read += 1
                    bytes_read += len(value or b"")
                    if key.startswith(prefix):
                        changes[key] = None if value is None else Entry(key, value, created, revision)
                if changes:
                    batches.append(Batch(revision, changes))
        return Stretch(tuple(batches), self.revision)

    def compact(self, through: int) -> None:
        """Delete what the revisions up to and including `through` wrote and is no longer current. Idempotent."""
        if through <= self.compacted:
            return
        with self._transaction():
            self.connection.execute(
                "DELETE FROM log WHERE position >= ? AND position < ? AND NOT EXISTS"
                " (SELECT 1 FROM current WHERE current.key = log.key AND current.position = log.position)",
                (_first_position(self.compacted + 1), _first_position(through + 1)),
            )
            self.connection.execute("UPDATE store SET compacted_revision = ?", (through,))
        self.compacted = through

    def checkpoint(self) -> None:
        """Move the write-ahead log's pages to the database file, and empty it."""
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the database; SQLite checkpoints it and removes its write-ahead log."""
        self.connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # some errors have rolled it back already
                self.connection.execute("ROLLBACK")
            raise

    def _stamps(self, keys: set[str]) -> dict[str, Stamp]:
        """Return the stamp of each of `keys` that exists."""
        ordered = list(keys)
        stamps: dict[str, Stamp] = {}
        for start in range(0, len(ordered), _ROWS_PER_STATEMENT):
            some: list[str | None] = [*ordered[start : start + _ROWS_PER_STATEMENT]]
            some += [None] * (_power_of_two_from(len(some)) - len(some))  # NULL equals no key
            found = self.connection.execute(
                f"WITH wanted (place, key) AS (VALUES {_places(2, len(some))})"  # noqa: S608 - only question marks
                " SELECT json_group_array(json_array(place, create_revision, position))"
                " FROM wanted CROSS JOIN current USING (key)",
                [*chain.from_iterable(enumerate(some, start))],
            ).fetchone()[0]
            stamps.update((ordered[place], Stamp(created, position)) for place, created, position in json.loads(found))
        return stamps

    def _write(self, batches: Iterable[Batch], stamps: dict[str, Stamp]) -> None:
        logged: list[tuple[Any, ...]] = []
        newest: dict[str, tuple[Any, ...] | None] = {}  # key -> its new row of `current`, None when it is deleted
        for batch in batches:
            first = _first_position(batch.revision)
            for position, (key, entry) in enumerate(batch.changes.items(), first):
                if entry is None:
                    logged.append((position, key, None, None))
                    newest[key] = None
                else:
                    logged.append((position, key, entry.create_revision, entry.value))
                    newest[key] = (key, entry.create_revision, position)
        history = _first_position(self.compacted + 1)
        stale = [(stamps[key].position,) for key in newest if key in stamps and stamps[key].position < history]
        self._execute("INSERT INTO log (position, key, create_revision, value) VALUES {rows}", logged)
        self._execute(
            "REPLACE INTO current (key, create_revision, position) VALUES {rows}",
            [row for row in newest.values() if row is not None],
        )
        self._execute(
            "DELETE FROM current WHERE key IN (VALUES {rows})", [(key,) for key, row in newest.items() if row is None]
        )
        self._execute("DELETE FROM log WHERE position IN (VALUES {rows})", stale)

    def _execute(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        start = 0
        while start < len(rows):
            count = min(_ROWS_PER_STATEMENT, _power_of_two_to(len(rows) - start))
            some = rows[start : start + count]
            self.connection.execute(statement.format(rows=_places(len(some[0]), count)), [*chain.from_iterable(some)])
            start += count


def _draft_in_turn(commits: Iterable[Commit], revision: int, stamps: dict[str, Stamp]) -> list[Batch | Conflict]:
    """Draft each commit on what those before it leave."""
    current: dict[str, Stamped] = {**stamps}
    outcomes: list[Batch | Conflict] = []
    for commit in commits:
        outcome = draft(commit, revision + 1, current)
        outcomes.append(outcome)
        if isinstance(outcome, Conflict):
            continue
        revision = outcome.revision
        for key, entry in outcome.changes.items():
            if entry is None:
                current.pop(key, None)
            else:
                current[key] = entry
    return outcomes


def _first_position(revision: int) -> int:
    return revision * POSITIONS_PER_REVISION


def _places(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


def _power_of_two_to(number: int) -> int:
    """Return the largest power of two that is not above `number`."""
    return 1 << (number.bit_length() - 1)


def _power_of_two_from(number: int) -> int:
    """Return the smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
