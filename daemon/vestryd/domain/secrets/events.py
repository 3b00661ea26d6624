"""What happened to a secret, as its watchers hear it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vestryd.domain.secrets.heads import Head


class SecretEvent(StrEnum):
    """What happened to a secret. `changed`: what is known of it changed in some other way."""

    CHANGED = "changed"
    CURRENT_CHANGED = "current_changed"
    PENDING_CHANGED = "pending_changed"
    DELETED = "deleted"
    UNDELETED = "undeleted"
    VERSION_DESTROYED = "version_destroyed"
    ROTATION_DUE = "rotation_due"


@dataclass(frozen=True, slots=True)
class Change:
    """A secret as it is now, and what made it so."""

    head: Head
    event: SecretEvent


def event_between(before: Head | None, after: Head) -> SecretEvent | None:
    """Return what happened between two heads of a secret, None when no watcher needs to know: a key was wrapped again."""
    if before is None:
        return SecretEvent.CURRENT_CHANGED if after.current else SecretEvent.PENDING_CHANGED
    if before.is_deleted != after.is_deleted:
        return SecretEvent.DELETED if after.is_deleted else SecretEvent.UNDELETED
    if before.current != after.current and after.current:
        return SecretEvent.CURRENT_CHANGED
    if before.pending != after.pending:
        return SecretEvent.PENDING_CHANGED
    if _destroyed(before) != _destroyed(after):
        return SecretEvent.VERSION_DESTROYED
    return None if before.settings == after.settings else SecretEvent.CHANGED


def _destroyed(head: Head) -> set[int]:
    return {number for number, version in head.versions.items() if version.destroy_time}
