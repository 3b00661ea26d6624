"""The store port: a small, revisioned, watchable key space, after etcd's guarantees (etcd docs, "API guarantees").

Guarantees that every adapter gives, and that tests/stores/ proves for each of them:

- A commit is atomic: all of it or nothing, at one revision, one higher than the last. It is durable when it returns.
- A read is true at one revision.
- A watch is ordered, unique, gap-free and atomic: each batch is the whole of one revision; and it is resumable from any
  revision whose successors are still in the history.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from vestryd.domain.errors import LimitExceeded

MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 1024 * 1024
MAX_COMMIT_OPERATIONS = 100

ABSENT = 0  # as an expected mod_revision: the key must not exist


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value. The revisions tell when the key was created and last written."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a read found: entries in key order, all true at `revision`."""

    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The whole of one revision. `changes` maps each key that it wrote -> the new entry, or None for a deletion."""

    revision: int
    changes: Mapping[str, Entry | None]


@dataclass(frozen=True, slots=True)
class Commit:
    """What to write, and what must be true for it.

    `expect` maps a key -> the mod_revision that it must have, or ABSENT. A key stands in `puts` or in `deletes`, not in
    both; deleting an absent key changes nothing but still is part of the revision, and of its batch.
    """

    expect: Mapping[str, int] = field(default_factory=dict)
    puts: Mapping[str, bytes] = field(default_factory=dict)
    deletes: frozenset[str] = frozenset()

    def check_limits(self) -> None:
        """Raise LimitExceeded unless the commit is within the limits that every adapter shares, ValueError if empty.

        Keys are counted in UTF-8 bytes. An expectation, a put and a delete is an operation each.
        """
        operations = len(self.expect) + len(self.puts) + len(self.deletes)
        if not self.puts and not self.deletes:
            raise ValueError("a commit must write something")
        if self.deletes & self.puts.keys():
            raise ValueError("a commit can't both put and delete a key")
        if operations > MAX_COMMIT_OPERATIONS:
            raise LimitExceeded("the number of a commit's operations", MAX_COMMIT_OPERATIONS, operations)
        for key in (*self.expect, *self.puts, *self.deletes):
            if not key:
                raise ValueError("a key can't be empty")
            size = len(key.encode())
            if size > MAX_KEY_BYTES:
                raise LimitExceeded(f"the length of key {key[:64]!r}… in bytes", MAX_KEY_BYTES, size)
        for key, value in self.puts.items():
            if len(value) > MAX_VALUE_BYTES:
                raise LimitExceeded(f"the size of {key!r} in bytes", MAX_VALUE_BYTES, len(value))


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What an administrator wants to know of a store. `disk_bytes` includes its log; 0 without a disk."""

    kind: str
    disk_bytes: int


class Store(Protocol):
    """A store that is open. It belongs to one event loop, and lives until `close`.

    Every method may raise StoreUnavailable when the medium fails; nothing is half-done then. After `close` every method
    raises StoreUnavailable.
    """

    @property
    def store_id(self) -> str:
        """Names the store for its whole life: 32 hexadecimal digits."""

    @property
    def incarnation(self) -> str:
        """Changes with each restore from a backup: 32 hexadecimal digits."""

    async def read(self, prefix: str, *, start: str = "", limit: int = 0) -> Snapshot:
        """Return the entries whose keys begin with `prefix`, in the order of their UTF-8 bytes.

        Keys below `start` are skipped; `limit` > 0 returns no more than that many. An empty prefix means every key.
        """

    async def commit(self, commit: Commit) -> int:
        """Write `commit` as one new revision, and return that revision once it is durable.

        Raises Conflict (naming the first expectation, in the commit's order, that failed) or LimitExceeded; nothing is
        written then. Cancelling the caller does not undo a commit that is under way: it happens or not, whole.
        """

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Batch, None]:
        """Yield, for ever, each revision above `after` in order, with its changes to keys that begin with `prefix`.

        A revision without such a change is skipped. The history is replayed first, then revisions arrive as they are
        committed. Raises Compacted when a revision above `after` is no longer in the history, also while running, should
        the reader fall that far behind; ValueError when `after` is in the future. The generator ends (without an error)
        when the store is closed. Close it with `aclose()`.
        """

    async def compact(self, revision: int) -> None:
        """Forget the history up to and including `revision`. Current entries stay. Idempotent.

        Raises ValueError when `revision` is in the future.
        """

    async def figures(self) -> StoreFigures:
        """Tell what the store takes."""

    async def close(self) -> None:
        """Finish the commits that were accepted, end the watches, and let go of the medium. Idempotent."""


@runtime_checkable
class BackupSource(Protocol):
    """A store that can be copied while it is in use."""

    async def backup(self, path: str) -> int:
        """Write a consistent copy to a new file at `path`, mode 0600, and return the revision that it is true at.

        Commits go on meanwhile. Raises StoreUnavailable when the file can't be written; no part of it is left then.
        """
