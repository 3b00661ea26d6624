"""The records of versions, encrypted as they are, the latest used in memory."""

from __future__ import annotations

from collections import OrderedDict

from vestryd.domain.errors import RecordDamaged
from vestryd.domain.sealing.envelope import Place
from vestryd.domain.secrets.heads import VERSIONS, version_key
from vestryd.domain.store import Batch, Store

CACHED_BYTES = 16 * 1024 * 1024


class Records:
    """Reads version records. Lives as long as the daemon; `apply` keeps what is in memory true to the store."""

    def __init__(self, store: Store, *, cached_bytes: int = CACHED_BYTES) -> None:
        self._store = store
        self._cached_bytes = cached_bytes
        self._cached: OrderedDict[str, bytes] = OrderedDict()  # store key -> record, the latest used last
        self._bytes = 0
        self._revision = 0

    async def read(self, place: Place) -> bytes:
        """Return a version's record. Raises RecordDamaged when there is none."""
        key = version_key(place.namespace, place.name, place.version)
        if key in self._cached:
            self._cached.move_to_end(key)
            return self._cached[key]
        found = await self._store.read(key, limit=1)
        if not found.entries:
            raise RecordDamaged(kind="secret", name=f"{place.namespace}/{place.name}", version=place.version)
        if found.revision >= self._revision:  # else a change that was applied meanwhile may be newer than this
            self._keep(key, found.entries[0].value)
        return found.entries[0].value

    def apply(self, batch: Batch) -> None:
        """Take in what one revision did to records."""
        self._revision = batch.revision
        for key, entry in batch.changes.items():
            if key.startswith(VERSIONS):
                was_cached = key in self._cached
                self._drop(key)
                # A new version is soon asked for; one that is only wrapped again may never be.
                if entry is not None and (was_cached or entry.create_revision == entry.mod_revision):
                    self._keep(key, entry.value)

    def forget(self) -> None:
        """Drop what is in memory."""
        self._cached.clear()
        self._bytes = 0

    def _keep(self, key: str, record: bytes) -> None:
        self._drop(key)
        self._cached[key] = record
        self._bytes += len(record)
        while self._bytes > self._cached_bytes:
            self._drop(next(iter(self._cached)))

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._cached.pop(key, b""))
