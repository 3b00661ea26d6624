"""Secrets that come in by the dozen, and that go out as files."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vestryd.domain.audit import AuditLog
from vestryd.domain.audited import Act, audited
from vestryd.domain.clock import Clock
from vestryd.domain.errors import InvalidField, LimitExceeded, VersionMismatch
from vestryd.domain.names import check_secret
from vestryd.domain.sealing.exported import ExportedSecret, ExportKey, ExportReader, encrypt
from vestryd.domain.sealing.kdf import SALT_BYTES
from vestryd.domain.secrets.changes import Moment, Plan, check_room, check_value, create, living, put
from vestryd.domain.secrets.generators import Generated
from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.registry import Registry
from vestryd.domain.secrets.settings import Settings, check_settings, decode_settings, encode_settings
from vestryd.domain.secrets.values import Values
from vestryd.domain.secrets.writer import Writer

MAX_ITEMS = 30  # a head, a record and the record that they push out, for each: a commit has 100 operations


class ImportConflict(StrEnum):
    """What to do when a secret is there already, with another value."""

    REFUSE = "refuse"
    SKIP = "skip"
    REPLACE = "replace"


class ImportOutcome(StrEnum):
    """What an import did to a secret."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ImportItem:
    """One secret to take in: a value, or an exported file, which knows its name."""

    name: str = ""
    value: bytes | None = field(default=None, repr=False)
    file: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one secret, and its current version."""

    name: str
    outcome: ImportOutcome
    version: int


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A secret's current version as a file."""

    name: str
    version: int
    file: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A secret to take in, read and checked. `settings` come with a file, and serve when the secret is new."""

    name: str
    value: bytes = field(repr=False)
    settings: Settings | None = None


class Transfer:
    """Imports and exports, for callers that may. Lives as long as the daemon."""

    def __init__(self, values: Values, writer: Writer, audit: AuditLog, clock: Clock) -> None:
        self._values = values
        self._writer = writer
        self._audit = audit
        self._clock = clock

    async def take_in(
        self, act: Act, namespace: str, incoming: Sequence[Incoming], conflict: ImportConflict, *, is_trial: bool
    ) -> list[Imported]:
        """Take in all of them, or none. The import is recorded before anything is compared, then each secret."""
        asked = replace(act, facts={**act.facts, "secrets": len(incoming), "dry_run": is_trial})
        async with audited(self._audit, asked):
            current = await self._current(namespace, incoming)

        def make(registry: Registry, moment: Moment) -> list[Plan]:
            check_room(
                namespace, registry.count(namespace), sum(not registry.find(namespace, i.name) for i in incoming)
            )
            return [
                _plan(registry.find(namespace, one.name), namespace, one, current, conflict, moment) for one in incoming
            ]

        if is_trial:
            plans = make(self._values.registry, self._writer.moment(act.actor))
            done = [(plan.head, plan.is_changed) for plan in plans]
        else:
            written = await self._writer.write(act, make, "secrets.import")
            done = [(one.head, one.is_changed) for one in written]
        return [
            _imported(head, one, current, is_changed=is_changed)
            for one, (head, is_changed) in zip(incoming, done, strict=True)
        ]

    def choose(self, namespace: str, names: Sequence[str]) -> list[Head]:
        """Return the heads that an export is of. Raises SecretNotFound, SecretUnusable for one that is named."""
        registry, now = self._values.registry, self._clock.now()
        if not names:
            named = registry.named(namespace)
            return [head for head in named if head.current and not head.is_deleted and not head.is_expired(now)]
        heads = [living(registry.get(namespace, name)) for name in dict.fromkeys(names)]
        for head in heads:
            self._values.check(head)
        return heads

    async def give_out(self, act: Act, heads: Iterable[Head], passphrase: bytes) -> AsyncGenerator[ExportedFile, None]:
        """Yield the current version of each as a file, once that is recorded."""
        key = await asyncio.to_thread(ExportKey.derive, passphrase, os.urandom(SALT_BYTES))
        for chosen in heads:
            head = living(self._values.registry.get(chosen.namespace, chosen.name))
            self._values.check(head)
            one = replace(act, resource=head.path, facts={**act.facts, "version": head.current})
            async with audited(self._audit, one):
                value = await self._values.open(head, head.current)
            metadata = {"settings": encode_settings(head.settings)}
            exported = ExportedSecret(head.namespace, head.name, head.current, value, metadata)
            yield ExportedFile(head.name, head.current, encrypt(key, exported))

    async def _current(self, namespace: str, incoming: Sequence[Incoming]) -> Mapping[str, tuple[int, bytes]]:
        """Return the current version and value of those that are there."""
        found = {}
        for one in incoming:
            head = self._values.registry.find(namespace, one.name)
            if head is not None and head.current and not head.is_deleted:
                found[one.name] = head.current, await self._values.open(head, head.current)
        return found


async def read_items(namespace: str, items: Sequence[ImportItem], passphrase: bytes) -> list[Incoming]:
    """Return what the items hold, checked. Raises InvalidField, LimitExceeded, UnlockRefused."""
    if not 1 <= len(items) <= MAX_ITEMS:
        raise (
            LimitExceeded("the number of secrets of an import", MAX_ITEMS, len(items))
            if items
            else InvalidField("secrets", f"1 to {MAX_ITEMS} are allowed")
        )
    incoming = await asyncio.to_thread(_read_all, namespace, items, ExportReader(passphrase))
    names = [one.name for one in incoming]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InvalidField(f"secrets[{number}].name", f"{name!r} is given twice")
    return incoming


def _read_all(namespace: str, items: Sequence[ImportItem], reader: ExportReader) -> list[Incoming]:
    return [_read(namespace, item, reader, f"secrets[{number}]") for number, item in enumerate(items)]


def _read(namespace: str, item: ImportItem, reader: ExportReader, where: str) -> Incoming:
    if (item.value is None) == (item.file is None):
        raise InvalidField(where, "give either a value or a file")
    if item.file is None:
        value = item.value or b""
        check_value(value, f"{where}.value")
        return Incoming(check_secret(item.name), value)
    exported = reader.read(item.file)
    if exported.namespace != namespace:
        raise InvalidField(f"{where}.file", f"it comes from namespace {exported.namespace!r}, not {namespace!r}")
    if item.name not in {"", exported.name}:
        raise InvalidField(f"{where}.name", f"the file holds {exported.name!r}")
    check_value(exported.value, f"{where}.file")
    return Incoming(check_secret(exported.name), exported.value, _settings(exported, f"{where}.file"))


def _settings(exported: ExportedSecret, where: str) -> Settings | None:
    if "settings" not in exported.metadata:
        return None
    try:
        settings = decode_settings(exported.metadata["settings"])
    except (KeyError, TypeError, ValueError):
        raise InvalidField(where, "it is from another release: what it says of the secret can't be read") from None
    check_settings(settings, where)
    return settings


def _plan(
    head: Head | None,
    namespace: str,
    one: Incoming,
    current: Mapping[str, tuple[int, bytes]],
    conflict: ImportConflict,
    moment: Moment,
) -> Plan:
    if head is None:
        return create(namespace, one.name, Generated(one.value), one.settings, moment)
    version, value = current.get(one.name, (0, b""))
    if living(head).current == version and hmac.compare_digest(value, one.value):
        return Plan(head, version, is_changed=False)
    match conflict:
        case ImportConflict.REFUSE:
            raise VersionMismatch("secret", f"{namespace}/{one.name}", 0, head.current)
        case ImportConflict.SKIP:
            return Plan(head, head.current, is_changed=False)
        case ImportConflict.REPLACE:
            return put(head, Generated(one.value), None, moment)


def _imported(head: Head, one: Incoming, current: Mapping[str, tuple[int, bytes]], *, is_changed: bool) -> Imported:
    version, value = current.get(one.name, (0, b""))
    if not is_changed:
        is_same = head.current == version and hmac.compare_digest(value, one.value)
        outcome = ImportOutcome.UNCHANGED if is_same else ImportOutcome.SKIPPED
    else:
        outcome = ImportOutcome.CREATED if head.newest == 1 else ImportOutcome.REPLACED
    return Imported(one.name, outcome, head.current)
