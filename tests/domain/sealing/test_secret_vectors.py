"""The formats of docs/secrets-format.md, held to the vectors that stand beside this file.

They were computed from that page with other code. A vector is never changed: a change of a format is another format.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vestryd.domain.sealing.binary import from_microseconds
from vestryd.domain.sealing.envelope import Place, open_record, rewrap, seal
from vestryd.domain.sealing.exported import ExportedSecret, ExportKey, ExportReader, encrypt
from vestryd.domain.sealing.kdf import stretch
from vestryd.domain.sealing.keyring import Keyring, Term, TermState, authenticate, mac_key
from vestryd.domain.sealing.slots import Slot, SlotKind, make_slot, open_slot

VECTORS = json.loads((Path(__file__).parent / "vectors" / "secrets.json").read_text())
STORE: str = VECTORS["store_id"]
ROOT = bytes.fromhex(VECTORS["root_key"])
NOW = datetime.fromisoformat("2026-01-01T00:00:00Z")


def drawn(*pieces: str) -> Callable[[int], bytes]:
    """Return a source of randomness that gives these pieces, hexadecimal, in this order."""
    rest = iter(pieces)

    def random(count: int) -> bytes:
        piece = bytes.fromhex(next(rest))
        assert len(piece) == count
        return piece

    return random


def keyring() -> Keyring:
    """Return the keyring of the vectors."""
    return Keyring(
        tuple(
            Term(
                term["number"],
                bytes.fromhex(term["key"]),
                TermState(term["state"]),
                from_microseconds(term["create_time_microseconds"]),
            )
            for term in VECTORS["keyring"]["terms"]
        )
    )


def place(vector: dict[str, Any]) -> Place:
    """Return where a record of the vectors belongs."""
    return Place(STORE, vector["namespace"], vector["name"], vector["version"])


def activated(number: int) -> Keyring:
    """Return the keyring of the vectors with another active term."""
    states = {3: TermState.DECRYPT_ONLY, number: TermState.ACTIVE}
    return Keyring(tuple(replace(term, state=states.get(term.number, term.state)) for term in keyring().terms))


def test_keyring() -> None:
    """The keyring is encrypted as the page says."""
    vector = VECTORS["keyring"]
    blob = bytes.fromhex(vector["blob"])
    assert keyring().encode(ROOT, STORE, vector["generation"], random=drawn(vector["nonce"])) == blob
    assert Keyring.decode(ROOT, STORE, blob) == (keyring(), vector["generation"])
    assert opened(vector["key"], blob[12:], vector["associated"]) == bytes.fromhex(vector["plaintext"])


def test_metadata() -> None:
    """Metadata is authenticated as the page says."""
    vector = VECTORS["metadata"]
    key = mac_key(ROOT, STORE)
    assert key.hex() == vector["key"]
    assert authenticate(key, vector["purpose"], vector["key_name"], vector["body"].encode()).hex() == vector["mac"]


@pytest.mark.parametrize("vector", VECTORS["records"])
def test_record(vector: dict[str, Any]) -> None:
    """A record is sealed as the page says."""
    random = drawn(vector["data_key"], vector["payload_nonce"], vector["wrap_nonce"])
    record = bytes.fromhex(vector["record"])
    value = bytes.fromhex(vector["value"])
    assert seal(activated(vector["term"]), place(vector), value, random=random) == record
    assert open_record(keyring(), place(vector), record) == value
    data_key = opened(keyring().key(vector["term"]).hex(), record[8:68], vector["wrap_associated"])
    assert opened(data_key.hex(), record[68:], vector["payload_associated"]) == value


def test_rewrapped_record() -> None:
    """The second record, re-wrapped, is the first one but for what is random."""
    after, before = VECTORS["records"][:2]
    record = rewrap(keyring(), place(before), bytes.fromhex(before["record"]), random=drawn(after["wrap_nonce"]))
    assert record.hex() == after["record"]


@pytest.mark.parametrize("vector", VECTORS["slots"], ids=lambda vector: vector["kind"])
def test_slot(vector: dict[str, Any]) -> None:
    """A slot is made as the page says."""
    material = bytes.fromhex(vector["material"])
    slot = make_slot(
        ROOT,
        STORE,
        SlotKind(vector["kind"]),
        material,
        slot_id=vector["id"],
        label=vector["label"],
        now=from_microseconds(vector["create_time_microseconds"]),
        iterations=vector["iterations"],
        random=drawn(vector["salt"], vector["nonce"]),
    )
    assert slot.encode().hex() == vector["slot"]
    assert slot.check.hex() == vector["check"]
    assert opened(vector["wrapping_key"], slot.sealed_root_key, vector["associated"]) == ROOT
    assert open_slot(Slot.decode(bytes.fromhex(vector["slot"])), STORE, material) == ROOT


def test_stretched_passphrase() -> None:
    """A passphrase with other spaces and decomposed letters is stretched as the page says."""
    vector = VECTORS["slots"][1]
    stretched = stretch(bytes.fromhex(vector["material"]), bytes.fromhex(vector["salt"]), vector["iterations"])
    assert stretched.hex() == vector["stretched"]


def test_exported_file() -> None:
    """An exported secret is encrypted as the page says."""
    vector = VECTORS["exported"]
    file = bytes.fromhex(vector["file"])
    secret = ExportedSecret(
        vector["namespace"], vector["name"], vector["version"], bytes.fromhex(vector["value"]), vector["metadata"]
    )
    key = ExportKey.derive(
        vector["passphrase"].encode(), bytes.fromhex(vector["salt"]), iterations=vector["iterations"]
    )
    assert (key.wrapping_key.hex(), key.check.hex()) == (vector["wrapping_key"], vector["check"])
    assert encrypt(key, secret, random=drawn(vector["data_key"], vector["wrap_nonce"], vector["payload_nonce"])) == file
    assert ExportReader(vector["passphrase"].encode()).read(file) == secret
    data_key = opened(vector["wrapping_key"], file[70:130], vector["wrap_associated"])
    assert opened(data_key.hex(), file[130:], vector["payload_associated"]) == bytes.fromhex(vector["payload"])


def opened(key: str, sealed: bytes, associated: str) -> bytes:
    """Return what is sealed, without the code that is tested here."""
    return AESGCM(bytes.fromhex(key)).decrypt(sealed[:12], sealed[12:], bytes.fromhex(associated))
