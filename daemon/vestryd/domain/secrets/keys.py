"""What opens secrets: the root key, what comes of it, and the keyring, which stands in the store encrypted under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from vestryd.domain.errors import RecordDamaged
from vestryd.domain.sealing.keyring import Keyring, mac_key
from vestryd.domain.steps import commit_step
from vestryd.domain.store import ABSENT, Commit, Entry, Store

KEYRING_HEAD = "keyring/head"


@dataclass(frozen=True, slots=True)
class Keys:
    """What an open vault holds. Replaced, never changed.

    `generation` counts the keyrings that were stored. `revision` is the mod_revision of the keyring's entry, ABSENT while
    it has none. `slot_id` is the slot that gave the root key.
    """

    store_id: str
    root_key: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    keyring: Keyring
    generation: int
    revision: int
    slot_id: str

    @classmethod
    def create(cls, store_id: str, root_key: bytes, slot_id: str, now: datetime) -> Keys:
        """Return the keys of a fresh store, which are not stored yet."""
        return cls(store_id, root_key, mac_key(root_key, store_id), Keyring.create(now), 1, ABSENT, slot_id)

    @classmethod
    def decode(cls, store_id: str, root_key: bytes, slot_id: str, entry: Entry) -> Keys:
        """Return the keys that the store's entry holds. Raises RecordDamaged."""
        keyring, generation = Keyring.decode(root_key, store_id, entry.value)
        made = mac_key(root_key, store_id)
        return cls(store_id, root_key, made, keyring, generation, entry.mod_revision, slot_id)

    def encode(self) -> bytes:
        """Return the entry of the keyring."""
        return self.keyring.encode(self.root_key, self.store_id, self.generation)

    def as_in(self, entry: Entry) -> Keys:
        """Return the keys with the keyring of another entry. Raises RecordDamaged."""
        return Keys.decode(self.store_id, self.root_key, self.slot_id, entry)


async def read_keys(store: Store, root_key: bytes, slot_id: str) -> Keys:
    """Return the keys that the store holds. Raises RecordDamaged, also when it holds none."""
    found = await store.read(KEYRING_HEAD, limit=1)
    if not found.entries:
        raise RecordDamaged(kind="keyring", name=store.store_id, version=0)
    return Keys.decode(store.store_id, root_key, slot_id, found.entries[0])


async def replace_keyring(
    store: Store, keys: Keys, keyring: Keyring, step: str, *, expect: Mapping[str, int] | None = None
) -> Keys:
    """Store another keyring, and return the keys with it once it is durable. Raises Conflict, StoreUnavailable."""
    after = replace(keys, keyring=keyring, generation=keys.generation + 1)
    commit = Commit(expect={KEYRING_HEAD: keys.revision, **(expect or {})}, puts={KEYRING_HEAD: after.encode()})
    return replace(after, revision=await commit_step(store, commit, step))
