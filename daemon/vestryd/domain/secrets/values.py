"""The values of secrets: which version somebody means, whether it can be had now, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from vestryd.domain.clock import Clock
from vestryd.domain.errors import SecretUnusable
from vestryd.domain.sealing.envelope import Place, open_record
from vestryd.domain.secrets.changes import living, version_not_found
from vestryd.domain.secrets.heads import Head, Label
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.registry import Registry
from vestryd.domain.secrets.vault import Vault


@dataclass(frozen=True, slots=True)
class Accessed:
    """A value, the version that it is, and when it is no longer given (None: never)."""

    value: bytes = field(repr=False)
    version: int
    create_time: datetime
    expire_time: datetime | None


class Values:
    """Opens versions. It asks nobody: who calls it has checked the caller, and recorded the access."""

    def __init__(self, vault: Vault, mirror: Mirror, store_id: str, clock: Clock) -> None:
        self._vault = vault
        self._mirror = mirror
        self._store_id = store_id
        self._clock = clock

    @property
    def registry(self) -> Registry:
        """What is known of all secrets. Raises Sealed."""
        return self._mirror.registry

    def check(self, head: Head, version: int = 0, label: Label = Label.CURRENT) -> int:
        """Return the number of the version that is meant: `version`, or for 0 the one with the label.

        Raises VersionNotFound, SecretUnusable when it can't be had now. By its number any version can be had that isn't
        destroyed; by the label `previous` only within its grace period.
        """
        now = self._clock.now()
        if head.is_expired(now):
            raise SecretUnusable(head.namespace, head.name, 0, f"it expired at {head.settings.expire_time}")
        number = version or _labelled(head, label, now)
        if number not in head.versions:
            raise version_not_found(head, number)
        if head.versions[number].destroy_time:
            raise SecretUnusable(head.namespace, head.name, number, "its value is destroyed")
        return number

    def find(self, namespace: str, name: str, version: int, label: Label) -> int:
        """Return the number of the version that is meant, of a secret that can be had. Raises as `check`; SecretNotFound."""
        return self.check(living(self.registry.get(namespace, name)), version, label)

    async def access(self, namespace: str, name: str, number: int, *, label: Label | None) -> Accessed:
        """Return a version's value, if it is still there. `label` is the one that it was asked for by, None for none.

        Raises SecretNotFound, SecretUnusable, RecordDamaged, Sealed.
        """
        head = living(self.registry.get(namespace, name))
        value = await self.open(head, self.check(head, number))
        ends = [head.settings.expire_time, head.previous_until if label is Label.PREVIOUS else None]
        expire_time = min((end for end in ends if end is not None), default=None)
        return Accessed(value, number, head.versions[number].create_time, expire_time)

    async def open(self, head: Head, number: int) -> bytes:
        """Return the value of a version. Raises Sealed, RecordDamaged."""
        place = Place(self._store_id, head.namespace, head.name, number)
        record = await self._mirror.records.read(place)
        return open_record(self._vault.keyring, place, record)


def _labelled(head: Head, label: Label, now: datetime) -> int:
    number = {Label.CURRENT: head.current, Label.PREVIOUS: head.previous, Label.PENDING: head.pending}[label]
    if not number:
        raise SecretUnusable(head.namespace, head.name, 0, f"it has no {label.value} version")
    if label is Label.PREVIOUS and (head.previous_until is None or head.previous_until <= now):
        raise SecretUnusable(head.namespace, head.name, number, "its grace period as the previous version is over")
    return number
