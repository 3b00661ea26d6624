"""How long history is kept: versions by count and age, answered requests for an hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from vestryd.domain.clock import Clock
from vestryd.domain.documents import Document, Documents
from vestryd.domain.errors import Conflict
from vestryd.domain.store import MAX_COMMIT_OPERATIONS, Commit, Store
from vestryd.domain.versions import REQUESTS, Answered, head_key, version_key

REQUESTS_ARE_KEPT = timedelta(hours=1)  # promised in config.proto
PAGE = 1000
STEP = MAX_COMMIT_OPERATIONS - 2  # an expectation and a put go with the deletes


@dataclass(frozen=True, slots=True)
class Limits:
    """How many versions of a document are kept, and how long; an age of zero means for ever. The current one always is."""

    versions: int
    age: timedelta


class Retention:
    """Forgets what is over the limits. Lives as long as the daemon."""

    def __init__(self, documents: Documents, store: Store, clock: Clock, limits: Limits) -> None:
        self._documents = documents
        self._store = store
        self._clock = clock
        self._limits = limits

    async def sweep(self) -> None:
        """Forget what is over the limits now. Raises StoreUnavailable; what is left is for the next sweep."""
        for kind in self._documents.kinds:
            for document in self._documents.all(kind):
                await self._sweep_versions(document)
        await self._sweep_requests()

    async def _sweep_versions(self, document: Document) -> None:
        oldest = await self._oldest_to_keep(document)
        while document.head.oldest < oldest:
            upto = min(oldest, document.head.oldest + STEP)
            key = head_key(document.kind, document.name)
            commit = Commit(
                expect={key: document.head_revision},
                puts={key: replace(document.head, oldest=upto).encode()},
                deletes=frozenset(
                    version_key(document.kind, document.name, number) for number in range(document.head.oldest, upto)
                ),
            )
            try:
                await self._documents.until(await self._store.commit(commit))
            except Conflict:
                return  # the document is being written: the next sweep comes
            document = self._documents.get(document.kind, document.name)

    async def _oldest_to_keep(self, document: Document) -> int:
        current = document.head.version
        oldest = max(document.head.oldest, current - self._limits.versions + 1)
        if not self._limits.age:
            return oldest
        horizon = self._clock.now() - self._limits.age
        while oldest < current:  # one at a time: mostly the first is young, and each may be a megabyte
            page = await self._documents.versions(document.kind, document.name, newest=oldest, limit=1)
            if page and page[0][0].create_time >= horizon:
                break
            oldest += 1
        return oldest

    async def _sweep_requests(self) -> None:
        horizon = self._clock.now() - REQUESTS_ARE_KEPT
        start = REQUESTS
        while True:
            found = await self._store.read(REQUESTS, start=start, limit=PAGE)
            old = [one.key for one in found.entries if Answered.decode(one.value).time < horizon]
            for first in range(0, len(old), STEP):
                await self._store.commit(Commit(deletes=frozenset(old[first : first + STEP])))
            if len(found.entries) < PAGE:
                return
            start = found.entries[-1].key + "\0"
