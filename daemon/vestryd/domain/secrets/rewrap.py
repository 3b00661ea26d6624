"""Wraps what older terms of the keyring wrap again, in the background, and erases the keys of terms that wrap nothing.

What is left to do is read off the heads, so a crash loses no progress: each version names its term, and changes it in the
same commit as its record. Values are not decrypted.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vestryd.domain.errors import AuditUnavailable, Conflict, RecordDamaged, Sealed, ShuttingDown, StoreUnavailable
from vestryd.domain.identity import Caller
from vestryd.domain.sealing.envelope import Place, rewrap
from vestryd.domain.sealing.keyring import TermState
from vestryd.domain.secrets.heads import VERSIONS, Head, version_key
from vestryd.domain.secrets.index import INDEX
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.secrets.writer import Basis, Draft, Writer
from vestryd.domain.store import Store

BATCH = 48  # records a commit: each may bring its head along, and index and keyring come to it
PAUSE_HEADS = 200  # that are looked through in one go
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TermProgress:
    """A term of the keyring: how many versions it wraps now, and how often it was used to wrap, ever."""

    number: int
    state: TermState
    create_time: datetime
    versions: int
    wraps: int


@dataclass(frozen=True, slots=True)
class RewrapProgress:
    """How far the wrapping has come. `done` counts since the last rotation, or since the daemon's start."""

    terms: tuple[TermProgress, ...]
    is_running: bool
    remaining: int
    done: int
    problem: str


class Rewrap:
    """The background task of the keyring. Lives as long as the daemon, and sleeps while there is nothing to do."""

    def __init__(
        self, vault: Vault, store: Store, mirror: Mirror, writer: Writer, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._vault = vault
        self._store = store
        self._mirror = mirror
        self._writer = writer
        self._retry_seconds = retry_seconds
        self._work = asyncio.Event()
        self._is_running = False
        self._done = 0
        self._problem = ""
        self._damaged: dict[str, str] = {}  # version key -> why it can't be wrapped again

    @property
    def problem(self) -> str:
        """Why it can't go on now, or what it had to leave; empty when all is well."""
        if self._problem or not self._damaged:
            return self._problem
        first, more = next(iter(self._damaged.values())), len(self._damaged) - 1
        return first + (f", and {more} more" if more else "")

    def wake(self) -> None:
        """Look for work: the vault was opened, the keyring rotated, or a term wore out."""
        self._work.set()

    def rotated(self) -> None:
        """Begin to count anew, for a new term."""
        self._done = 0
        self.wake()

    def progress(self, caller: Caller) -> RewrapProgress:
        """Tell how far it has come. Raises PermissionDenied, Sealed."""
        self._vault.check(caller)
        registry, keyring = self._mirror.registry, self._vault.keyring
        versions, wraps = registry.terms, registry.index.wraps
        terms = tuple(
            TermProgress(one.number, one.state, one.create_time, versions[one.number], wraps.get(one.number, 0))
            for one in keyring.terms
        )
        remaining = versions.total() - versions[keyring.active.number]
        return RewrapProgress(terms, self._is_running, remaining, self._done, self.problem)

    async def run(self) -> None:
        """Do what there is to do whenever there is, until the daemon ends."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self.finish()
                self._problem = ""
            except Sealed:
                continue  # the next opening wakes us
            except ShuttingDown:
                return
            except (StoreUnavailable, AuditUnavailable, Conflict) as error:
                self._problem = str(error)
                await asyncio.sleep(self._retry_seconds)
                self.wake()

    async def finish(self) -> None:
        """Wrap all that is left, and retire the terms that wrap nothing any more.

        Raises Sealed, StoreUnavailable, AuditUnavailable, ShuttingDown, Conflict; what was done stays done.
        """
        self._is_running = True
        try:
            if self._mirror.registry.is_worn(self._vault.keyring.active.number):
                await self._vault.rotate_by_itself()
            self._damaged.clear()
            for namespace in self._mirror.registry.namespaces():
                await self._wrap(await self._left(namespace))
            await self._retire()
        finally:
            self._is_running = False

    async def _left(self, namespace: str) -> list[str]:
        """Return the keys of the versions that an older term wraps, in the store's order."""
        active = self._vault.keyring.active.number
        left: list[str] = []
        for number, head in enumerate(list(self._mirror.registry.named(namespace))):
            stale = (version.number for version in head.versions.values() if version.term not in {0, active})
            left.extend(version_key(namespace, head.name, version) for version in stale)
            if not number % PAUSE_HEADS:
                await asyncio.sleep(0)  # readers go on
        return sorted(left)

    async def _wrap(self, left: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        while left:
            async with self._writer.alone():
                began = loop.time()
                try:
                    left = await self._wrap_page(left)
                except Conflict as conflict:
                    await self._writer.catch_up(conflict)
            await asyncio.sleep(loop.time() - began)  # readers and writers have half of the time for themselves

    async def _wrap_page(self, left: Sequence[str]) -> Sequence[str]:
        """Wrap what one page of the store has of `left`, and return the rest. Only for who is alone."""
        basis = self._writer.basis()
        page = await self._store.read(VERSIONS, start=left[0], limit=BATCH)
        found = {entry.key: entry.value for entry in page.entries}
        covered = bisect_right(left, page.entries[-1].key) if len(page.entries) == BATCH else len(left)
        heads: dict[tuple[str, str], Head] = {}
        puts: dict[str, bytes] = {}
        for key in left[:covered]:
            place = _place(self._store.store_id, key)
            name = (place.namespace, place.name)
            try:
                head = heads.get(name) or basis.registry.get(*name)
                if _is_left(head, place.version, basis.active):
                    puts[key] = _rewrapped(basis, place, found.get(key))
                    heads[name] = _with_term(head, place.version, basis.active)
            except RecordDamaged as error:
                self._damaged[key] = str(error)
            await asyncio.sleep(0)  # readers go on
        if puts:
            await self._writer.commit(Draft(basis, tuple(heads.values()), puts, wraps=len(puts)), "secrets.rewrap")
            self._done += len(puts)
        return left[covered:]

    async def _retire(self) -> None:
        """Erase the keys that wrap nothing, unless something may be missing or damaged that they could still open."""
        registry = self._mirror.registry
        if any(registry.problems()):
            return
        for term in self._vault.keyring.terms:
            if term.state is TermState.DECRYPT_ONLY and not registry.terms[term.number]:
                await self._vault.retire(term.number, expect={INDEX: registry.index_revision})


def _place(store_id: str, key: str) -> Place:
    namespace, name, number = key.removeprefix(VERSIONS).split("/")
    return Place(store_id, namespace, name, int(number))


def _is_left(head: Head, number: int, active: int) -> bool:
    """Tell whether a version still is to be wrapped again: it may have been destroyed, or wrapped, meanwhile."""
    version = head.versions.get(number)
    return version is not None and version.term not in {0, active}


def _rewrapped(basis: Basis, place: Place, record: bytes | None) -> bytes:
    if record is None:
        raise RecordDamaged(kind="secret", name=f"{place.namespace}/{place.name}", version=place.version)
    return rewrap(basis.keys.keyring, place, record)


def _with_term(head: Head, number: int, term: int) -> Head:
    version = replace(head.versions[number], term=term)
    return replace(head, versions={**head.versions, number: version})
