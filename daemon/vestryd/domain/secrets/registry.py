"""Every secret's head in memory, verified: what is authentic, what is not, and what the index vouches for."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping

from vestryd.domain.errors import RecordDamaged, SecretNotFound, StoreUnavailable
from vestryd.domain.secrets.events import Change, event_between
from vestryd.domain.secrets.heads import HEADS, Head, decode_head, head_key
from vestryd.domain.secrets.index import INDEX, Index, decode_index, member
from vestryd.domain.store import ABSENT, Batch, Entry, Snapshot, Store

PAGE = 200  # heads that are verified in one go, without a pause for other work: some 10 ms
MAX_WRAPS = 2**30  # of a term: NIST SP 800-38D allows 2^32 random nonces a key
MAX_READS = 20  # so often may other writers change the secrets while they are read, before it is given up

Prepared = Mapping[str, tuple[bytes, Head]]  # head key -> its record, and what that says


class Registry:
    """The heads of all secrets, as the store's entries say. Lives from an opening of the vault to its sealing.

    What is read or applied is verified. A head that is not authentic, or that was changed without the index, is damaged: it
    stands aside, and the others go on. The index vouches for what it vouched for before, and so goes on to differ from what
    is there, over restarts too, until the right heads are back.
    """

    def __init__(self, mac_key: bytes) -> None:
        self.mac_key = mac_key
        self.index = Index()
        self.index_revision = ABSENT
        self.revision = 0
        self.terms: Counter[int] = Counter()  # term of the keyring -> how many versions it wraps
        self._heads: dict[tuple[str, str], Head] = {}  # namespace and name -> head
        self._members: dict[str, int] = {}  # head key -> what the index has of it
        self._seen: dict[str, int] = {}  # head key -> what the index would have of it, as it is in the store
        self._digest = 0  # the XOR of what is seen
        self._names: dict[str, list[str]] = {}  # namespace -> the names of its secrets, sorted
        self._damaged: dict[str, str] = {}  # head key -> what is wrong with it
        self._problem = ""  # of the index
        self._misfit = ""  # how heads and index differed when they were read
        self._prepared: dict[str, tuple[bytes, Head]] = {}

    def __len__(self) -> int:
        return len(self._heads)

    @property
    def damaged(self) -> int:
        """How many heads are damaged."""
        return len(self._damaged)

    def find(self, namespace: str, name: str) -> Head | None:
        """Return a secret's head, deleted or not, or None. Raises RecordDamaged."""
        if self._damaged and head_key(namespace, name) in self._damaged:
            raise RecordDamaged(kind="secret", name=f"{namespace}/{name}", version=0)
        return self._heads.get((namespace, name))

    def get(self, namespace: str, name: str) -> Head:
        """Return a secret's head, deleted or not. Raises SecretNotFound, RecordDamaged."""
        head = self.find(namespace, name)
        if head is None:
            raise SecretNotFound(namespace, name)
        return head

    def heads(self) -> Iterator[Head]:
        """Yield the heads that are not damaged, in no order."""
        return (head for head in self._heads.values() if not self._is_damaged(head.namespace, head.name))

    def named(self, namespace: str, *, prefix: str = "", after: str = "") -> Iterator[Head]:
        """Yield the heads of a namespace by name: those that begin with `prefix`, above `after`, and are not damaged."""
        names = self._names.get(namespace, [])
        start = max(bisect_left(names, prefix), bisect_right(names, after) if after else 0)
        for name in names[start:]:
            if not name.startswith(prefix):
                return
            if not self._is_damaged(namespace, name):
                yield self._heads[namespace, name]

    def namespaces(self) -> list[str]:
        """Return the namespaces that have secrets, deleted ones too."""
        return sorted(self._names)

    def count(self, namespace: str) -> int:
        """Return how many secrets a namespace has, deleted ones too."""
        return len(self._names.get(namespace, ()))

    def is_worn(self, term: int) -> bool:
        """Tell whether a term wrapped so often that the next one should."""
        return self.index.wraps.get(term, 0) >= MAX_WRAPS

    def problems(self) -> Iterator[str]:
        """Yield what was tampered with, or damaged by the medium."""
        yield from (f"{key}: {problem}" for key, problem in sorted(self._damaged.items()))
        yield from (problem for problem in (self._problem, self._misfit) if problem)

    def member(self, key: str) -> int:
        """Return what the index has of the head at a key, 0 when that is nothing."""
        return self._members.get(key, 0)

    def prepare(self, records: Prepared) -> None:
        """Spare `apply` the work of verifying heads that were just made here."""
        self._prepared.update(records)

    def forget(self, records: Prepared) -> None:
        """Drop what was prepared and not applied."""
        for key in records:
            self._prepared.pop(key, None)

    def load(self, index: Entry | None) -> None:
        """Begin with the index; heads follow with `load_head`, and then `load_end`."""
        self.index_revision = index.mod_revision if index else ABSENT
        try:
            self.index = decode_index(index.value if index else b"", self.mac_key)
        except ValueError:
            what = "not authentic" if index else "gone from the store"
            self._problem = (
                f"the index of the secrets is {what}, so nothing tells whether they are the newest: restore a backup"
            )

    def load_head(self, entry: Entry) -> None:
        """Take in a head that was read; one that is not authentic is damaged."""
        self._see(entry.key, member(self.mac_key, entry.key, entry.value))
        self._members[entry.key] = self._seen[entry.key]
        self._decode(entry.key, entry.value)

    def load_end(self) -> None:
        """Compare what was read with the index."""
        unknown = self.index.digest ^ self._digest
        if not unknown or self._problem:
            return
        added = next((key for key, one in self._members.items() if one == unknown), "")
        missing = self.index.count - len(self._members)
        if added:
            self._damaged[added] = "the secret was put into the store by somebody else: restore a backup"
        elif missing > 0:
            self._misfit = f"secrets were removed from the store by somebody else, {missing} at least: restore a backup"
        elif missing < 0:
            self._misfit = f"secrets were put into the store by somebody else, {-missing} at least: restore a backup"
        else:
            self._misfit = "secrets were put back to an earlier state by somebody else: restore a backup"

    def apply(self, batch: Batch) -> tuple[Change, ...]:
        """Take in one revision, and return what it changed for watchers."""
        self.revision = max(self.revision, batch.revision)
        heads = {key: entry for key, entry in batch.changes.items() if key.startswith(HEADS)}
        if not heads and INDEX not in batch.changes:
            return ()
        members = {key: member(self.mac_key, key, entry.value) if entry else 0 for key, entry in heads.items()}
        moved = 0
        for key, one in members.items():
            moved ^= one ^ self.member(key)
            self._see(key, one)
        vouched = self._take_index(batch.changes[INDEX]) if INDEX in batch.changes else 0
        fits = self._digest == self.index.digest
        if moved != vouched and not fits:
            self._refuse(heads)
            return ()
        self._misfit = "" if fits else self._misfit
        changes = []
        for key, entry in heads.items():
            if entry is None:
                self._drop(key)
            elif change := self._take_head(key, entry, members[key]):
                changes.append(change)
        return tuple(changes)

    def _see(self, key: str, one: int) -> None:
        self._digest ^= one ^ self._seen.get(key, 0)
        self._seen[key] = one

    def _is_damaged(self, namespace: str, name: str) -> bool:
        return bool(self._damaged) and head_key(namespace, name) in self._damaged

    def _take_index(self, entry: Entry | None) -> int:
        """Take in an index, and return how its digest moved; an index that can't be true moves nothing."""
        self.index_revision = entry.mod_revision if entry else ABSENT
        try:
            index = decode_index(entry.value if entry else b"", self.mac_key)
        except ValueError:
            self._problem = "the index of the secrets was changed or removed by somebody else: restore a backup"
            return 0
        if index == self.index:
            self._problem = ""  # it is put right
            return 0
        if index.generation <= self.index.generation:
            self._problem = "an older index of the secrets was put back by somebody else: restore a backup"
            return 0
        before, self.index = self.index, index
        return before.digest ^ index.digest

    def _take_head(self, key: str, entry: Entry, made: int) -> Change | None:
        before = self._heads.get(_place(key))
        self._members[key] = made
        record, prepared = self._prepared.pop(key, (b"", None))
        if prepared is not None and record == entry.value:
            self._hold(key, prepared)
        elif not self._decode(key, entry.value):
            return None
        head = self._heads[_place(key)]
        event = event_between(before, head)
        return Change(head, event) if event else None

    def _decode(self, key: str, record: bytes) -> bool:
        try:
            self._hold(key, decode_head(key, record, self.mac_key))
        except ValueError as error:
            self._damaged[key] = f"{error}: restore a backup"
            return False
        return True

    def _hold(self, key: str, head: Head) -> None:
        self._damaged.pop(key, None)
        before = self._heads.get(_place(key))
        if before is None:
            insort(self._names.setdefault(head.namespace, []), head.name)
        else:
            self.terms.subtract(version.term for version in before.versions.values() if version.term)
        self.terms.update(version.term for version in head.versions.values() if version.term)
        self._heads[_place(key)] = head

    def _drop(self, key: str) -> None:
        """Forget a head that should never have been there, and is gone."""
        self._damaged.pop(key, None)
        self._members.pop(key, None)
        head = self._heads.pop(_place(key), None)
        if head is not None:
            self._names[head.namespace].remove(head.name)
            self.terms.subtract(version.term for version in head.versions.values() if version.term)

    def _refuse(self, heads: Mapping[str, Entry | None]) -> None:
        """Stand heads aside that the index doesn't vouch for; what it has of them stays."""
        for key, entry in heads.items():
            what = "changed in the store" if entry else "removed from the store"
            self._damaged[key] = f"the secret was {what} by somebody else: restore a backup"
        if not heads:
            self._problem = "an index that doesn't fit the secrets was put into the store: restore a backup"


async def read_registry(store: Store, mac_key: bytes) -> Registry:
    """Return what the store holds now, verified; other work goes on meanwhile. Raises StoreUnavailable.

    It is all of one revision: the index changes with every head, so while it is the same, so are they.
    """
    for _ in range(MAX_READS):
        registry, before = Registry(mac_key), await store.read(INDEX, limit=1)
        registry.load(_only(before))
        async for entry in _head_entries(store):
            registry.load_head(entry)
        if _only(await store.read(INDEX, limit=1)) == _only(before):
            registry.load_end()
            registry.revision = before.revision
            return registry
    raise StoreUnavailable("the secrets were changed all the time while they were read")


async def _head_entries(store: Store) -> AsyncIterator[Entry]:
    start = HEADS
    while True:
        page = await store.read(HEADS, start=start, limit=PAGE)
        for entry in page.entries:
            yield entry
        if len(page.entries) < PAGE:
            return
        await asyncio.sleep(0)
        start = page.entries[-1].key + "\0"


def _only(found: Snapshot) -> Entry | None:
    return found.entries[0] if found.entries else None


def _place(key: str) -> tuple[str, str]:
    namespace, _, name = key.removeprefix(HEADS).partition("/")
    return namespace, name
