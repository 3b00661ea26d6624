"""What can be known of secrets without their values: from memory, for callers that may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from vestryd.domain.access import Guard
from vestryd.domain.clock import Clock
from vestryd.domain.errors import InvalidField
from vestryd.domain.identity import Caller
from vestryd.domain.names import check_namespace, check_secret
from vestryd.domain.secrets.heads import Head, Version, namespace_path, secret_path
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.rotation import RotationState


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """A page of secrets by the time at which they fall due, and how many there are in all: due, and overdue."""

    heads: tuple[Head, ...]
    due: int
    overdue: int


class SecretReads:
    """The reads of `Secrets`. All are plain functions: they wait for nothing. Each raises PermissionDenied and Sealed."""

    def __init__(self, mirror: Mirror, guard: Guard, clock: Clock) -> None:
        self._mirror = mirror
        self._guard = guard
        self._clock = clock

    def get(self, caller: Caller, namespace: str, name: str) -> Head:
        """Return what is known of a secret, be it deleted. Raises SecretNotFound, RecordDamaged."""
        self._guard.require(caller, "secrets.get", checked_path(namespace, name))
        return self._mirror.registry.get(namespace, name)

    def list(
        self,
        caller: Caller,
        namespace: str,
        *,
        name_prefix: str = "",
        include_deleted: bool = False,
        after: str = "",
        limit: int = 50,
    ) -> tuple[Head, ...]:
        """Return up to `limit` secrets by name: those above `after` that begin with `name_prefix`."""
        self._guard.require(caller, "secrets.list", namespace_path(checked_namespace(namespace)))
        named = self._mirror.registry.named(namespace, prefix=name_prefix, after=after)
        return tuple(islice((head for head in named if include_deleted or not head.is_deleted), limit))

    def versions(
        self, caller: Caller, namespace: str, name: str, *, below: int = 0, limit: int = 50
    ) -> tuple[Head, tuple[Version, ...]]:
        """Return a secret, and up to `limit` of its versions, newest first: those below number `below` (0: from the newest).

        Raises SecretNotFound, RecordDamaged.
        """
        head = self.get(caller, namespace, name)
        numbers = (number for number in sorted(head.versions, reverse=True) if not below or number < below)
        return head, tuple(head.versions[number] for number in islice(numbers, limit))

    def rotation_status(
        self,
        caller: Caller,
        namespace: str,
        *,
        only_due: bool = False,
        after: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> RotationStatus:
        """Return the secrets with a rotation period, those first that fall due first.

        `after` is the next rotation's time and the name of the last secret of the page before.
        """
        self._guard.require(caller, "secrets.list", namespace_path(checked_namespace(namespace)))
        now = self._clock.now()
        scheduled = sorted(_scheduled(self._mirror.registry.named(namespace)))
        states = [(place, head, head.rotation_state(now)) for *place, head in scheduled]
        wanted = (
            head
            for place, head, state in states
            if (after is None or tuple(place) > after) and not (only_due and state is RotationState.SCHEDULED)
        )
        counted = [state for _, _, state in states]
        due, overdue = counted.count(RotationState.DUE), counted.count(RotationState.OVERDUE)
        return RotationStatus(tuple(islice(wanted, limit)), due, overdue)

    def state(self, namespace: str) -> tuple[Head, ...]:
        """Return a namespace's secrets by name, deleted ones left out, for a watch whose caller was checked already."""
        return tuple(head for head in self._mirror.registry.named(namespace) if not head.is_deleted)


def checked_path(namespace: str, name: str) -> str:
    """Return what policies call a secret. Raises InvalidField."""
    return secret_path(checked_namespace(namespace), check_secret(name))


def checked_namespace(namespace: str) -> str:
    """Return the namespace, which is not empty any more here. Raises InvalidField."""
    if not namespace:
        raise InvalidField("namespace", "name one")
    return check_namespace(namespace)


def _scheduled(heads: Iterator[Head]) -> Iterator[tuple[datetime, str, Head]]:
    for head in heads:
        due = head.next_rotation_time
        if due is not None:
            yield due, head.name, head
