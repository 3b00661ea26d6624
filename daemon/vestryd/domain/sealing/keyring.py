"""The keyring: the keys that wrap the data keys of secrets, one for each term, and their one encrypted form.

Beside it stands the key for what can't be encrypted but must be authentic: the metadata of secrets. Both come from the
root key, which is 32 random bytes that the unlock slots hold. docs/secrets-format.md has it all byte by byte.

No object here shows a key in its `repr`. A key that is dropped is gone from the keyring, but Python can't promise that no
copy of it stays in memory until that is used for something else.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from vestryd.domain.errors import InvalidField, RecordDamaged
from vestryd.domain.sealing.aead import AES_256_GCM, KEY_BYTES, Random, seal, unseal
from vestryd.domain.sealing.binary import fields, from_microseconds, to_microseconds
from vestryd.domain.sealing.kdf import derive

_DOMAIN = "vestry/keyring/v1"
_METADATA_DOMAIN = "vestry/secret-metadata/v1"
_HEADER = b"VK" + bytes([1, AES_256_GCM])  # magic, format, algorithm
_GENERATION = slice(4, 12)  # big-endian
_SEALED = slice(12, None)
_TERM = struct.Struct(">IBq32s")  # number, state, create time in microseconds since 1970, key


class TermState(StrEnum):
    """What a term is for.

    pending: its key is known everywhere before anybody uses it. active: wraps, and unwraps. decrypt_only: unwraps what is
    not re-wrapped yet. retired: its key is gone, and its number is never used again.
    """

    PENDING = "pending"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    RETIRED = "retired"


_CODES = {TermState.PENDING: 1, TermState.ACTIVE: 2, TermState.DECRYPT_ONLY: 3, TermState.RETIRED: 4}
_STATES = {code: state for state, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Term:
    """A key of the keyring, and the time in which it is the active one. `key` is empty once the term is retired."""

    number: int
    key: bytes = field(repr=False)
    state: TermState
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Keyring:
    """All terms, numbered from 1. One is active, at most one pending. It is replaced, never changed."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        states = [term.state for term in self.terms]
        if [term.number for term in self.terms] != list(range(1, len(self.terms) + 1)):
            raise ValueError("the terms of a keyring are numbered from 1 without gaps")
        if states.count(TermState.ACTIVE) != 1 or states.count(TermState.PENDING) > 1:
            raise ValueError("a keyring has one active term and at most one that is pending")
        if any(len(term.key) != (0 if term.state is TermState.RETIRED else KEY_BYTES) for term in self.terms):
            raise ValueError("a term has a key of 32 bytes, until it is retired")

    @classmethod
    def create(cls, now: datetime, *, random: Random = os.urandom) -> Keyring:
        """Return a keyring with one term, which is active."""
        return cls((Term(1, random(KEY_BYTES), TermState.ACTIVE, now),))

    @property
    def active(self) -> Term:
        """The term that wraps."""
        return next(term for term in self.terms if term.state is TermState.ACTIVE)

    @property
    def pending(self) -> Term | None:
        """The term that is to be the next active one."""
        return next((term for term in self.terms if term.state is TermState.PENDING), None)

    def key(self, number: int) -> bytes:
        """Return the key of a term, to unwrap with. Raises KeyError when there is no such term, or it is retired."""
        if not 1 <= number <= len(self.terms) or not self.terms[number - 1].key:
            raise KeyError(number)
        return self.terms[number - 1].key

    def add_pending(self, now: datetime, *, random: Random = os.urandom) -> Keyring:
        """Return the keyring with one more term, which is pending. Raises InvalidField when one is pending already."""
        if self.pending is not None:
            raise InvalidField("term", f"term {self.pending.number} is pending already: activate or retire it first")
        return Keyring((*self.terms, Term(len(self.terms) + 1, random(KEY_BYTES), TermState.PENDING, now)))

    def activate(self, number: int) -> Keyring:
        """Return the keyring with the pending term active, and the active one decrypt-only. Else raises InvalidField."""
        if self.pending is None or self.pending.number != number:
            raise InvalidField("term", f"term {number} is not pending: only a pending one can be activated")
        return self._with({number: TermState.ACTIVE, self.active.number: TermState.DECRYPT_ONLY})

    def retire(self, number: int) -> Keyring:
        """Return the keyring without the key of this term: what is still wrapped with it is lost. Idempotent.

        Raises InvalidField for the active term, and for one that there isn't.
        """
        if number == self.active.number:
            raise InvalidField("term", f"term {number} is the active one: rotate the keyring before you retire it")
        if not 1 <= number <= len(self.terms):
            raise InvalidField("term", f"there is no term {number}")
        return self._with({number: TermState.RETIRED})

    def encode(self, root_key: bytes, store_id: str, generation: int, *, random: Random = os.urandom) -> bytes:
        """Return the keyring, encrypted. `generation` tells it from older ones: it grows with each one that is stored."""
        head = _HEADER + struct.pack(">Q", generation)
        plaintext = b"".join(_encode(term) for term in self.terms)
        return head + seal(derive(root_key, _DOMAIN, store_id), plaintext, _associated(store_id, head), random)

    @classmethod
    def decode(cls, root_key: bytes, store_id: str, blob: bytes) -> tuple[Keyring, int]:
        """Return the keyring that `encode` encrypted, and its generation.

        An older one that is put back is authentic: only its generation tells. Raises RecordDamaged for anything else.
        """
        head = blob[: _SEALED.start]
        generation = int.from_bytes(head[_GENERATION])
        try:
            plaintext = unseal(derive(root_key, _DOMAIN, store_id), blob[_SEALED], _associated(store_id, head))
            return cls(tuple(_decode(*parts) for parts in _TERM.iter_unpack(plaintext))), generation
        except (ValueError, KeyError, struct.error):
            raise RecordDamaged(kind="keyring", name=store_id, version=generation) from None

    def _with(self, states: dict[int, TermState]) -> Keyring:
        return Keyring(tuple(_in_state(term, states.get(term.number, term.state)) for term in self.terms))


def mac_key(root_key: bytes, store_id: str) -> bytes:
    """Return the key that authenticates the metadata of secrets."""
    return derive(root_key, _METADATA_DOMAIN, store_id)


def authenticate(key: bytes, purpose: str, key_name: str, body: bytes) -> bytes:
    """Return the MAC, of 32 bytes, of a metadata record that serves `purpose` and stands at `key_name` in the store."""
    return hmac.digest(key, fields(_METADATA_DOMAIN, purpose, key_name, body), "sha256")


def is_authentic(key: bytes, purpose: str, key_name: str, body: bytes, mac: bytes) -> bool:
    """Return whether `authenticate` made `mac` of the same, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(authenticate(key, purpose, key_name, body), mac)


def _associated(store_id: str, head: bytes) -> bytes:
    return fields(_DOMAIN, store_id, head)


def _in_state(term: Term, state: TermState) -> Term:
    return replace(term, state=state, key=b"" if state is TermState.RETIRED else term.key)


def _encode(term: Term) -> bytes:
    # Where a key is missing, 32 zeros are written.
    return _TERM.pack(term.number, _CODES[term.state], to_microseconds(term.create_time), term.key)


def _decode(number: int, code: int, microseconds: int, key: bytes) -> Term:
    state = _STATES[code]
    return Term(number, b"" if state is TermState.RETIRED else key, state, from_microseconds(microseconds))
