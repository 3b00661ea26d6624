"""What can be done to one secret: each change as a pure function from its head to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vestryd.domain.errors import (
    InvalidField,
    LimitExceeded,
    SecretNotFound,
    SecretUnusable,
    VersionMismatch,
    VersionNotFound,
)
from vestryd.domain.secrets.generators import Generated
from vestryd.domain.secrets.heads import Head, Version
from vestryd.domain.secrets.rotation import NO_GRACE
from vestryd.domain.secrets.settings import Settings

MAX_VALUE_BYTES = 65_536
MAX_SECRETS = 10_000  # of a namespace, deleted ones included
MAX_VERSIONS = 100  # what a new version pushes out is destroyed and forgotten


@dataclass(frozen=True, slots=True)
class Moment:
    """Who changes something, when, and under which term of the keyring."""

    author: str
    time: datetime
    term: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change makes of a secret: its head, the values of new versions, and the versions whose records go.

    `version` is the one that the change is about, 0 for none.
    """

    head: Head
    version: int = 0
    values: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    destroyed: frozenset[int] = frozenset()
    is_changed: bool = True


def check_value(value: bytes, where: str = "value") -> None:
    """Raise InvalidField when this can't be the value of a secret."""
    if not 1 <= len(value) <= MAX_VALUE_BYTES:
        raise InvalidField(where, f"1 to {MAX_VALUE_BYTES} bytes are allowed, these are {len(value)}")


def check_current(namespace: str, name: str, current: int, expected: int | None) -> None:
    """Raise VersionMismatch unless the current version is the one that the caller believes in."""
    if expected is not None and expected != current:
        raise VersionMismatch("secret", f"{namespace}/{name}", expected, current)


def check_room(namespace: str, count: int, more: int) -> None:
    """Raise LimitExceeded when a namespace with `count` secrets has no room for `more`."""
    if more and count + more > MAX_SECRETS:
        raise LimitExceeded(f"the number of secrets of namespace {namespace!r}", MAX_SECRETS, count + more)


def living(head: Head) -> Head:
    """Return a head that isn't deleted. Raises SecretNotFound."""
    if head.is_deleted:
        raise SecretNotFound(head.namespace, head.name, is_deleted=True)
    return head


def create(namespace: str, name: str, made: Generated, settings: Settings | None, moment: Moment) -> Plan:
    """Make a secret, with its first version."""
    head = Head(namespace, name, moment.time, moment.time, moment.author, settings or Settings())
    return put(head, made, None, moment)


def put(head: Head, made: Generated, settings: Settings | None, moment: Moment) -> Plan:
    """Make a new current version; the one before is the previous one, without a grace period."""
    head = replace(living(head), settings=settings or head.settings)
    return _add(_promoted(head, head.newest + 1, NO_GRACE, moment), made, moment)


def rotate(head: Head, made: Generated, grace: timedelta | None, moment: Moment) -> Plan:
    """Make a new current version; the one before still works for a while."""
    _check_nothing_pending(living(head))
    return _add(_promoted(head, head.newest + 1, _grace_of(head, grace), moment), made, moment)


def add_pending(head: Head, made: Generated, moment: Moment) -> Plan:
    """Make a version that waits to be promoted."""
    _check_nothing_pending(living(head))
    return _add(replace(head, pending=head.newest + 1), made, moment)


def promote(head: Head, grace: timedelta | None, moment: Moment) -> Plan:
    """Make the pending version the current one."""
    number = _pending_of(head)
    changed = _promoted(replace(head, pending=0), number, _grace_of(head, grace), moment)
    return Plan(_touched(changed, moment), number)


def abandon(head: Head, moment: Moment) -> Plan:
    """Destroy the pending version."""
    return _destroyed(head, _pending_of(head), moment)


def update(head: Head, settings: Settings, fields: frozenset[str], moment: Moment) -> Plan:
    """Change some fields of the settings."""
    wanted = replace(living(head).settings, **{name: getattr(settings, name) for name in fields})
    if wanted == head.settings:
        return Plan(head, is_changed=False)
    return Plan(_touched(replace(head, settings=wanted), moment))


def delete(head: Head, moment: Moment) -> Plan:
    """Delete a secret softly."""
    if head.is_deleted:
        return Plan(head, is_changed=False)
    return Plan(_touched(replace(head, delete_time=moment.time), moment))


def undelete(head: Head, moment: Moment) -> Plan:
    """Take a deletion back."""
    if not head.is_deleted:
        return Plan(head, is_changed=False)
    return Plan(_touched(replace(head, delete_time=None), moment))


def destroy(head: Head, number: int, moment: Moment) -> Plan:
    """Destroy a version. One that was pushed out by newer ones is destroyed already."""
    if not 1 <= number <= head.newest:
        raise version_not_found(head, number)
    if number not in head.versions or head.versions[number].destroy_time:
        return Plan(head, number, is_changed=False)
    if number == head.current and not head.is_deleted:
        problem = "it is the current version: rotate or delete the secret before you destroy it"
        raise SecretUnusable(head.namespace, head.name, number, problem)
    return _destroyed(head, number, moment)


def version_not_found(head: Head, number: int) -> VersionNotFound:
    """Return the error that says which versions there are."""
    oldest = next(iter(head.versions), 0)
    return VersionNotFound("secret", f"{head.namespace}/{head.name}", number, oldest, head.newest)


def _check_nothing_pending(head: Head) -> None:
    if head.pending:
        problem = f"version {head.pending} is pending: promote or abandon it first"
        raise SecretUnusable(head.namespace, head.name, 0, problem)


def _pending_of(head: Head) -> int:
    if not living(head).pending:
        raise SecretUnusable(head.namespace, head.name, 0, "no version is pending")
    return head.pending


def _grace_of(head: Head, grace: timedelta | None) -> timedelta:
    if grace is not None:
        return grace
    return head.settings.rotation.grace if head.settings.rotation else NO_GRACE


def _promoted(head: Head, number: int, grace: timedelta, moment: Moment) -> Head:
    if head.current:
        until = moment.time + grace if grace else None
        head = replace(head, previous=head.current, previous_until=until)
    return replace(head, current=number, current_time=moment.time)


def _add(head: Head, made: Generated, moment: Moment) -> Plan:
    """Add the next version, and push out the oldest ones without a label when there are too many."""
    number = head.newest + 1
    version = Version(number, moment.time, moment.author, len(made.value), moment.term, made.public_key)
    versions = {**head.versions, number: version}
    labelled = {head.current, head.previous, head.pending}
    excess = [old for old in versions if old not in labelled][: max(0, len(versions) - MAX_VERSIONS)]
    gone = frozenset(old for old in excess if not versions[old].destroy_time)
    kept = {old: one for old, one in versions.items() if old not in excess}
    changed = _touched(replace(head, newest=number, versions=kept), moment)
    return Plan(changed, number, {number: made.value}, gone)


def _destroyed(head: Head, number: int, moment: Moment) -> Plan:
    version = replace(head.versions[number], destroy_time=moment.time, term=0)
    is_previous, is_current = number == head.previous, number == head.current
    changed = replace(
        head,
        current=0 if is_current else head.current,
        current_time=None if is_current else head.current_time,
        previous=0 if is_previous else head.previous,
        previous_until=None if is_previous else head.previous_until,
        pending=0 if number == head.pending else head.pending,
        versions={**head.versions, number: version},
    )
    return Plan(_touched(changed, moment), number, destroyed=frozenset({number}))


def _touched(head: Head, moment: Moment) -> Head:
    return replace(head, update_time=moment.time, author=moment.author)
