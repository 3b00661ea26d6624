"""What a commit makes of the entries that it finds: the rule that every adapter shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from vestryd.domain.errors import Conflict
from vestryd.domain.store import ABSENT, Batch, Commit, Entry


class Stamped(Protocol):
    """What must be known of a current entry in order to commit: its revisions, not its value."""

    @property
    def create_revision(self) -> int:
        """The revision that created the key."""

    @property
    def mod_revision(self) -> int:
        """The revision that wrote the key last."""


def draft(commit: Commit, revision: int, current: Mapping[str, Stamped]) -> Batch | Conflict:
    """Return the changes that `commit` makes at `revision`, or its first expectation that `current` fails.

    `current` must hold each key of the commit that exists. A conflict is returned, not raised: in a group of commits it
    is one outcome among others.
    """
    for key, expected in commit.expect.items():
        found = current.get(key)
        actual = ABSENT if found is None else found.mod_revision
        if actual != expected:
            return Conflict(key, expected, actual)
    changes: dict[str, Entry | None] = dict.fromkeys(sorted(commit.deletes))
    for key, value in commit.puts.items():
        found = current.get(key)
        created = revision if found is None else found.create_revision
        changes[key] = Entry(key, value, created, revision)
    return Batch(revision, changes)
