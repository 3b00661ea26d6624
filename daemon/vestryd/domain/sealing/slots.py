"""Unlock slots: each holds the root key, encrypted under one passphrase or one random key.

Any one of them opens the secrets. docs/secrets-format.md has a slot byte by byte.
"""

from __future__ import annotations

import hmac
import os
import re
import struct
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from vestryd.domain.errors import InvalidField, UnlockRefused
from vestryd.domain.sealing import aead
from vestryd.domain.sealing.aead import KEY_BYTES, SEALED_KEY_BYTES, Random
from vestryd.domain.sealing.binary import fields, from_microseconds, to_microseconds
from vestryd.domain.sealing.kdf import MIN_ITERATIONS, SALT_BYTES, check_iterations, derive, stretch

MAX_LABEL_CHARACTERS = 64

_DOMAIN = "vestry/slot/v1"
_MAGIC = b"VU" + bytes([1, aead.AES_256_GCM])  # magic, format, algorithm
# Magic, id, kind, KDF, iterations, salt, create time in microseconds since 1970, bytes of the label, which follows.
_HEADER = struct.Struct(f">4s4sBBI{SALT_BYTES}sqH")
_ID = re.compile("[0-9a-f]{8}")
_HKDF_SHA256 = 1
_PBKDF2_SHA256 = 2


class SlotKind(StrEnum):
    """Where the key to a slot comes from. Those of PASSPHRASES are stretched; the others are 32 random bytes or more."""

    SYSTEMD_CREDENTIAL = "systemd_credential"
    KEY_FILE = "key_file"
    PASSPHRASE = "passphrase"
    ENVIRONMENT = "environment"


PASSPHRASES = frozenset({SlotKind.PASSPHRASE, SlotKind.ENVIRONMENT})

_CODES = {SlotKind.SYSTEMD_CREDENTIAL: 1, SlotKind.KEY_FILE: 2, SlotKind.PASSPHRASE: 3, SlotKind.ENVIRONMENT: 4}
_KINDS = {code: kind for kind, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Slot:
    """An unlock slot, as it is stored. What it says of itself is proved only when it opens.

    `id` has 8 hexadecimal digits. `iterations` is 0 where nothing is stretched. `check` tells one key from another, since a
    ciphertext of AES-GCM may open under several; with it, and with `sealed_root_key`, passphrases can be guessed at.
    """

    id: str
    kind: SlotKind
    create_time: datetime
    label: str
    iterations: int
    salt: bytes = field(repr=False)
    check: bytes = field(repr=False)
    sealed_root_key: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the slot's bytes."""
        return _head(self) + self.check + self.sealed_root_key

    @classmethod
    def decode(cls, data: bytes) -> Slot:
        """Return the slot that `encode` wrote. Raises UnlockRefused when it isn't one, or its iterations can't be used."""
        try:
            return _decode(data)
        except (ValueError, KeyError, struct.error):
            raise UnlockRefused("an unlock slot can't be read: it is damaged, or from a newer release") from None


def make_slot(
    root_key: bytes,
    store_id: str,
    kind: SlotKind,
    material: bytes,
    *,
    slot_id: str,
    label: str,
    now: datetime,
    iterations: int = MIN_ITERATIONS,
    random: Random = os.urandom,
) -> Slot:
    """Return a slot that `material` opens; `slot_id` has 8 hexadecimal digits. A passphrase blocks for 0.14 s or more.

    Raises UnlockRefused when the material can't be used: a passphrase or a key that is too short, iterations out of bounds;
    InvalidField when the label can't.
    """
    if len(root_key) != KEY_BYTES or not _ID.fullmatch(slot_id):
        raise ValueError("a root key has 32 bytes, and the id of an unlock slot 8 hexadecimal digits")
    if len(label) > MAX_LABEL_CHARACTERS or not label.isprintable():
        raise InvalidField("label", f"at most {MAX_LABEL_CHARACTERS} printable characters are allowed")
    stretching = iterations if kind in PASSPHRASES else 0
    slot = Slot(slot_id, kind, now, label, stretching, random(SALT_BYTES), check=b"", sealed_root_key=b"")
    wrapping_key, check = _keys(slot, store_id, material)
    slot = replace(slot, check=check)
    return replace(slot, sealed_root_key=aead.seal(wrapping_key, root_key, _associated(slot, store_id), random))


def open_slot(slot: Slot, store_id: str, material: bytes) -> bytes:
    """Return the root key. Blocks for 0.14 s or more when the slot is opened by a passphrase.

    Raises UnlockRefused, with the same words whether the material is another one or the slot was changed.
    """
    wrapping_key, check = _keys(slot, store_id, material)
    try:
        root_key = aead.unseal(wrapping_key, slot.sealed_root_key, _associated(slot, store_id))
    except ValueError:
        root_key = b""
    if not hmac.compare_digest(check, slot.check) or not root_key:
        what = "passphrase" if slot.kind in PASSPHRASES else "key"
        raise UnlockRefused(
            f"the {what} doesn't open unlock slot {slot.id}: it is another one, or the slot was changed"
        )
    return root_key


def _keys(slot: Slot, store_id: str, material: bytes) -> tuple[bytes, bytes]:
    """Return the key that encrypts the root key, and the check of it."""
    if slot.kind in PASSPHRASES:
        key = stretch(material, slot.salt, slot.iterations)
    elif len(material) < KEY_BYTES:
        raise UnlockRefused(f"the key can't be used: it has {len(material)} bytes, at least {KEY_BYTES} are needed")
    else:
        key = material
    return (
        derive(key, _DOMAIN, "wrap", store_id, salt=slot.salt),
        derive(key, _DOMAIN, "check", store_id, salt=slot.salt),
    )


def _associated(slot: Slot, store_id: str) -> bytes:
    return fields(_DOMAIN, store_id, _head(slot), slot.check)


def _head(slot: Slot) -> bytes:
    label = slot.label.encode()
    header = _HEADER.pack(
        _MAGIC,
        bytes.fromhex(slot.id),
        _CODES[slot.kind],
        _kdf(slot.kind),
        slot.iterations,
        slot.salt,
        to_microseconds(slot.create_time),
        len(label),
    )
    return header + label


def _decode(data: bytes) -> Slot:
    magic, slot_id, code, kdf, iterations, salt, created, label_bytes = _HEADER.unpack_from(data)
    label, rest = data[_HEADER.size :][:label_bytes].decode(), data[_HEADER.size + label_bytes :]
    kind = _KINDS[code]
    if magic != _MAGIC or kdf != _kdf(kind) or len(rest) != KEY_BYTES + SEALED_KEY_BYTES or not label.isprintable():
        raise ValueError("this is not an unlock slot")
    if kind in PASSPHRASES:
        check_iterations(iterations)
    create_time = from_microseconds(created)
    return Slot(slot_id.hex(), kind, create_time, label, iterations, salt, rest[:KEY_BYTES], rest[KEY_BYTES:])


def _kdf(kind: SlotKind) -> int:
    return _PBKDF2_SHA256 if kind in PASSPHRASES else _HKDF_SHA256
