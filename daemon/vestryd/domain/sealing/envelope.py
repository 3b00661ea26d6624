"""The record of one secret version: its value under a data key, and the data key under a term of the keyring.

A data key encrypts one value, once. A record opens at its own place only. docs/secrets-format.md has it byte by byte.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from vestryd.domain.errors import RecordDamaged
from vestryd.domain.sealing import aead
from vestryd.domain.sealing.aead import KEY_BYTES, SEALED_KEY_BYTES, Random
from vestryd.domain.sealing.binary import fields
from vestryd.domain.sealing.keyring import Keyring

_DOMAIN = "vestry/secret/v1"
_HEADER = b"VS" + bytes([1, aead.AES_256_GCM])  # magic, format, algorithm
_TERM = slice(4, 8)  # big-endian
_WRAP = slice(8, 8 + SEALED_KEY_BYTES)  # the data key, sealed
_PAYLOAD = slice(8 + SEALED_KEY_BYTES, None)  # the value, sealed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record belongs. A place is used once: a version's number must not be given again after it is destroyed."""

    store_id: str
    namespace: str
    name: str
    version: int


def seal(keyring: Keyring, place: Place, value: bytes, *, random: Random = os.urandom) -> bytes:
    """Return the record of `value` at `place`, under a new data key and the active term."""
    data_key = random(KEY_BYTES)
    payload = aead.seal(data_key, value, _associated(place, "payload"), random)
    return _wrap(keyring, place, data_key, random) + payload


def open_record(keyring: Keyring, place: Place, record: bytes) -> bytes:
    """Return the value in a record.

    Raises RecordDamaged when anything is not as `seal` or `rewrap` made it, for this place, under a term whose key is there.
    """
    data_key = _unwrap(keyring, place, record)
    try:
        return aead.unseal(data_key, record[_PAYLOAD], _associated(place, "payload"))
    except ValueError:
        raise _damaged(place) from None


def rewrap(keyring: Keyring, place: Place, record: bytes, *, random: Random = os.urandom) -> bytes:
    """Return the record with its data key under the active term; what is under it already is returned as it is.

    The value is not decrypted, so damage to it is not seen here. Raises RecordDamaged when the data key doesn't unwrap.
    """
    data_key = _unwrap(keyring, place, record)
    if term_of(record) == keyring.active.number:
        return record
    return _wrap(keyring, place, data_key, random) + record[_PAYLOAD]


def term_of(record: bytes) -> int:
    """Return the number of the term that a record says it is under. Raises ValueError when it isn't a record."""
    if len(record) < _PAYLOAD.start or not record.startswith(_HEADER):
        raise ValueError("this is not the record of a secret version")
    return int.from_bytes(record[_TERM])


def _wrap(keyring: Keyring, place: Place, data_key: bytes, random: Random) -> bytes:
    term = keyring.active
    associated = _associated(place, "wrap", struct.pack(">I", term.number))
    return _HEADER + struct.pack(">I", term.number) + aead.seal(term.key, data_key, associated, random)


def _unwrap(keyring: Keyring, place: Place, record: bytes) -> bytes:
    try:
        key = keyring.key(term_of(record))
        return aead.unseal(key, record[_WRAP], _associated(place, "wrap", record[_TERM]))
    except (ValueError, KeyError):
        raise _damaged(place) from None


def _associated(place: Place, layer: str, *more: bytes) -> bytes:
    version = struct.pack(">Q", place.version)
    return fields(_DOMAIN, layer, _HEADER, place.store_id, place.namespace, place.name, version, *more)


def _damaged(place: Place) -> RecordDamaged:
    return RecordDamaged(kind="secret", name=f"{place.namespace}/{place.name}", version=place.version)
