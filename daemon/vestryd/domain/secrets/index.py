"""The index of the secrets: vouches for all heads at once, and counts the wraps.

A head is authentic by itself, but so is an older one that is put back. The index holds a digest over the MACs of all heads,
and changes in the same commit as any of them: so one secret can't be rolled back, added or removed unseen. The digest is
the XOR of a keyed hash of each head's MAC. It is masked under a fresh nonce, since the differences of many digests that
were seen would tell which heads can be put back together without changing it.

The whole store put back to an earlier time is not seen here: the audit log knows the revision that the store had reached.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from vestryd.domain.jsonvalue import canonical
from vestryd.domain.sealing.keyring import authenticate, is_authentic
from vestryd.domain.secrets.heads import MAC_BYTES

INDEX = "secret-index"

_PURPOSE = "secret-index"
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Index:
    """What the store's index says. `digest` is the XOR of the heads' `member`s; `wraps` maps a term -> its wraps."""

    generation: int = 0
    count: int = 0
    digest: int = field(default=0, repr=False)
    wraps: Mapping[int, int] = field(default_factory=dict)


def member(mac_key: bytes, key: str, record: bytes) -> int:
    """Return what a head, as it is stored, contributes to the digest."""
    return int.from_bytes(authenticate(mac_key, "secret-index-member", key, record[-MAC_BYTES:]))


def encode_index(index: Index, mac_key: bytes) -> bytes:
    """Return the record that the store keeps."""
    nonce = os.urandom(_NONCE_BYTES)
    body = canonical(
        {
            "count": index.count,
            "digest": f"{index.digest ^ _mask(mac_key, nonce):064x}",
            "generation": index.generation,
            "nonce": nonce.hex(),
            "wraps": {str(term): wraps for term, wraps in index.wraps.items()},
        }
    )
    return body + authenticate(mac_key, _PURPOSE, INDEX, body)


def decode_index(record: bytes, mac_key: bytes) -> Index:
    """Return the index that `encode_index` wrote. Raises ValueError for anything else."""
    body, mac = record[:-MAC_BYTES], record[-MAC_BYTES:]
    if not is_authentic(mac_key, _PURPOSE, INDEX, body, mac):
        raise ValueError("the index of the secrets is not authentic")
    encoded = json.loads(body)
    return Index(
        generation=encoded["generation"],
        count=encoded["count"],
        digest=int(encoded["digest"], 16) ^ _mask(mac_key, bytes.fromhex(encoded["nonce"])),
        wraps={int(term): wraps for term, wraps in encoded["wraps"].items()},
    )


def _mask(mac_key: bytes, nonce: bytes) -> int:
    return int.from_bytes(authenticate(mac_key, "secret-index-mask", INDEX, nonce))
