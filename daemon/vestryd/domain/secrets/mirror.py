"""The secrets as the store's own watch tells of them: read at each opening of the vault, gone at its sealing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vestryd.domain.errors import Sealed
from vestryd.domain.following import follow
from vestryd.domain.reached import Reached
from vestryd.domain.secrets.events import Change, event_between
from vestryd.domain.secrets.index import INDEX
from vestryd.domain.secrets.records import Records
from vestryd.domain.secrets.registry import Registry, read_registry
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.store import Batch, Store

Listener = Callable[[int, tuple[Change, ...]], None]


class Mirror:
    """What readers see of the secrets. Lives as long as the daemon; `follow` runs as a task.

    `on_changed` hears of each revision that changes secrets, after readers can see it; `on_loaded` of each time that all of
    them were read. Neither waits nor raises.
    """

    def __init__(self, vault: Vault, store: Store) -> None:
        self.on_changed: Listener = lambda _revision, _changes: None
        self.on_loaded: Callable[[], None] = lambda: None
        self.records = Records(store)
        self._vault = vault
        self._store = store
        self._reached = Reached()
        self._registry: Registry | None = None
        self._waiting: list[Batch] | None = None  # what came while the registry is read
        self._loading = asyncio.Lock()

    @property
    def revision(self) -> int:
        """The revision that reads are true at."""
        return self._reached.revision

    @property
    def registry(self) -> Registry:
        """What is known of all secrets. Raises Sealed."""
        keys = self._vault.keys
        if self._registry is None or self._registry.mac_key != keys.mac_key:
            raise Sealed("they are being read", remedy="try again in a moment")
        return self._registry

    async def until(self, revision: int) -> None:
        """Return once `revision` is applied. Raises ShuttingDown."""
        await self._reached.until(revision)

    async def begin(self) -> None:
        """Take the store's revision for a start, when the vault stayed sealed and so nothing was read."""
        found = await self._store.read(INDEX, limit=1)
        self._reached.reach(found.revision)

    async def load(self) -> None:
        """Read all secrets; what readers see is replaced at once, at the end. Raises Sealed, StoreUnavailable."""
        async with self._loading:
            self._waiting = []
            try:
                registry = await read_registry(self._store, self._vault.mac_key)
                for batch in self._waiting:
                    if batch.revision > registry.revision:
                        registry.apply(batch)
            finally:
                self._waiting = None
            _ = self._vault.keys  # sealed meanwhile?
            before, self._registry = self._registry, registry
            self._reached.reach(registry.revision)
            self.on_loaded()
            if before is not None:
                self._tell(registry.revision, _differences(before, registry))

    def forget(self) -> None:
        """Drop what is known, as the vault is sealed."""
        self._registry = None
        self.records.forget()

    async def follow(self) -> None:
        """Apply what the store commits, until it is closed or this is cancelled."""
        try:
            await follow(self._store, "", reached=lambda: self.revision, apply=self._apply, start_over=self._start_over)
        finally:
            self._reached.end()

    async def _start_over(self) -> None:
        """Read everything again, since a part of the store's history was missed."""
        await self.begin()
        self.records.forget()
        await self._vault.reload()
        if not self._vault.is_sealed:
            await self.load()

    def _apply(self, batch: Batch) -> None:
        self._vault.apply(batch)
        self.records.apply(batch)
        changes: tuple[Change, ...] = ()
        if self._waiting is not None:
            self._waiting.append(batch)
        elif self._registry is not None and batch.revision > self._registry.revision:
            changes = self._registry.apply(batch)
        self._reached.reach(batch.revision)
        self._tell(batch.revision, changes)

    def _tell(self, revision: int, changes: tuple[Change, ...]) -> None:
        if changes:
            self.on_changed(revision, changes)


def _differences(before: Registry, after: Registry) -> tuple[Change, ...]:
    known = {(head.namespace, head.name): head for head in before.heads()}
    events = ((head, event_between(known.get((head.namespace, head.name)), head)) for head in after.heads())
    return tuple(Change(head, event) for head, event in events if event)
