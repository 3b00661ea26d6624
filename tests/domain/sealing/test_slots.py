"""Unlock slots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealing.tampering import OTHER_STORE, STORE, flipped, quick_stretch, tampered, tells, told
from vestryd.domain.errors import InvalidField, UnlockRefused, VestryError
from vestryd.domain.sealing import aead, slots
from vestryd.domain.sealing.slots import PASSPHRASES, Slot, SlotKind, make_slot, open_slot

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
ROOT = bytes(range(32))
KEY = bytes(range(100, 140))
PASSPHRASE = b"correct horse battery staple"
KEY_KINDS = sorted(set(SlotKind) - PASSPHRASES)


def material(kind: SlotKind) -> bytes:
    """Return what opens the slots of a kind here."""
    return PASSPHRASE if kind in PASSPHRASES else KEY


def slot_of(kind: SlotKind = SlotKind.KEY_FILE, *, slot_id: str = "0a1b2c3d", label: str = "ein Schlüssel") -> Slot:
    """Return a slot of a kind."""
    return make_slot(ROOT, STORE, kind, material(kind), slot_id=slot_id, label=label, now=NOW)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch passphrases at once."""
    monkeypatch.setattr(slots, "stretch", quick_stretch)


@pytest.fixture(scope="module")
def passphrase_slot() -> Slot:
    """Return a slot that was made with the real PBKDF2."""
    return slot_of(SlotKind.PASSPHRASE)


def is_refused(data: bytes, material: bytes, store_id: str = STORE) -> bool:
    """Return whether a slot's bytes don't give the root key."""
    try:
        open_slot(Slot.decode(data), store_id, material)
    except UnlockRefused:
        return True
    return False


def test_a_passphrase_opens_its_slot(passphrase_slot: Slot) -> None:
    """A passphrase is stretched 600 000 times at least, and gives the root key back."""
    assert passphrase_slot.iterations == 600_000
    assert open_slot(Slot.decode(passphrase_slot.encode()), STORE, PASSPHRASE) == ROOT


def test_another_passphrase_is_refused(passphrase_slot: Slot) -> None:
    """The refusal names the slot, and nothing of either passphrase."""
    with pytest.raises(UnlockRefused, match="the passphrase doesn't open unlock slot 0a1b2c3d") as refusal:
        open_slot(passphrase_slot, STORE, PASSPHRASE + b"!")
    assert "horse" not in told(refusal.value)


@pytest.mark.parametrize("kind", SlotKind)
def test_each_kind_of_slot_comes_back(quick: None, kind: SlotKind) -> None:
    """A slot of each kind is the same once it is decoded, and opens with its own material only."""
    slot = Slot.decode(slot_of(kind).encode())
    assert (slot.id, slot.kind, slot.create_time, slot.label) == ("0a1b2c3d", kind, NOW, "ein Schlüssel")
    assert open_slot(slot, STORE, material(kind)) == ROOT
    assert is_refused(slot.encode(), material(kind)[::-1])


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=64), st.binary(min_size=32, max_size=99))
def test_any_label_and_key_come_back(label: str, key: bytes) -> None:
    """Any printable label and any key of 32 bytes or more serve."""
    slot = make_slot(ROOT, STORE, SlotKind.KEY_FILE, key, slot_id="00000000", label=label, now=NOW)
    assert Slot.decode(slot.encode()) == slot
    assert open_slot(slot, STORE, key) == ROOT


@pytest.mark.parametrize("kind", SlotKind)
def test_no_byte_of_a_slot_can_be_changed(quick: None, kind: SlotKind) -> None:
    """A slot with any bit flipped (id, kind, label, times, KDF parameters, all of it), cut or grown is refused."""
    assert all(is_refused(data, material(kind)) for data in tampered(slot_of(kind).encode()))


def test_a_slot_belongs_to_its_store() -> None:
    """A slot that is carried to another store is refused there."""
    assert is_refused(slot_of().encode(), KEY, OTHER_STORE)


def test_a_refusal_does_not_tell_why() -> None:
    """Another key, a check that was changed and a root key that was changed give the same sentence."""
    slot = slot_of()
    changed_check = replace(slot, check=bytes(32))
    changed_key = replace(slot, sealed_root_key=bytes(60))
    sentences = set()
    for tried, key in ((slot, KEY[::-1]), (changed_check, KEY), (changed_key, KEY)):
        with pytest.raises(UnlockRefused) as refusal:
            open_slot(tried, STORE, key)
        sentences.add(str(refusal.value))
    assert sentences == {"the key doesn't open unlock slot 0a1b2c3d: it is another one, or the slot was changed"}


def test_the_check_counts_even_when_the_ciphertext_opens() -> None:
    """A ciphertext that opens under a second key, as AES-GCM allows, is refused for its check."""
    slot = slot_of()
    wrapping_key, _ = slots._keys(slot, STORE, KEY)
    forged = replace(slot, check=bytes(32))
    sealed = aead.seal(wrapping_key, ROOT, slots._associated(forged, STORE), bytes)
    assert is_refused(replace(forged, sealed_root_key=sealed).encode(), KEY)


def test_a_slot_below_the_floor_is_not_tried(quick: None) -> None:
    """A slot that says fewer than 600 000 or absurdly many iterations is refused before anything is computed."""
    slot = slot_of(SlotKind.PASSPHRASE)
    for iterations in (0, 1, 599_999, 50_000_001, 2**32 - 1):
        with pytest.raises(UnlockRefused, match=r"iterations|can't be read"):
            Slot.decode(replace(slot, iterations=iterations).encode())


def test_no_slot_is_made_below_the_floor() -> None:
    """A passphrase is not stretched fewer than 600 000 times, not even when somebody asks for it."""
    with pytest.raises(UnlockRefused, match="599999 iterations"):
        make_slot(
            ROOT, STORE, SlotKind.PASSPHRASE, PASSPHRASE, slot_id="00000000", label="", now=NOW, iterations=599_999
        )


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_a_short_key_is_refused(kind: SlotKind) -> None:
    """Key material of 31 bytes makes no slot, and opens none."""
    with pytest.raises(UnlockRefused, match="it has 31 bytes, at least 32 are needed"):
        make_slot(ROOT, STORE, kind, KEY[:31], slot_id="00000000", label="", now=NOW)
    assert is_refused(slot_of(kind).encode(), KEY[:31])


@pytest.mark.parametrize("kind", sorted(PASSPHRASES))
def test_a_short_passphrase_is_refused(kind: SlotKind) -> None:
    """A passphrase of 11 characters makes no slot."""
    with pytest.raises(UnlockRefused, match="it has 11 characters, 12 to 1024 are allowed"):
        make_slot(ROOT, STORE, kind, b"hunter2hunt", slot_id="00000000", label="", now=NOW)


@pytest.mark.parametrize("label", ["x" * 65, "two\nlines", "\x1b[2J", "\u202egnirts"])
def test_a_label_is_short_and_printable(label: str) -> None:
    """A label that is too long, or plays tricks on a terminal, is refused, also when it is read from the store."""
    with pytest.raises(InvalidField, match="printable"):
        slot_of(label=label)
    if not label.isprintable():
        with pytest.raises(UnlockRefused, match="can't be read"):
            Slot.decode(replace(slot_of(), label=label).encode())


@pytest.mark.parametrize(
    ("root_key", "slot_id"), [(ROOT[:31], "0a1b2c3d"), (ROOT, "0A1B2C3D"), (ROOT, "0a1b"), (ROOT, "")]
)
def test_a_slot_that_could_not_be_opened_is_not_made(root_key: bytes, slot_id: str) -> None:
    """A root key or an id that the format can't hold is a ValueError at once."""
    with pytest.raises(ValueError, match="32 bytes"):
        make_slot(root_key, STORE, SlotKind.KEY_FILE, KEY, slot_id=slot_id, label="", now=NOW)


def test_the_same_key_makes_another_slot_each_time() -> None:
    """Two slots of one key have neither salt, check nor ciphertext in common."""
    one, other = slot_of(), slot_of()
    assert {one.salt, one.check, one.sealed_root_key}.isdisjoint({other.salt, other.check, other.sealed_root_key})


@pytest.mark.parametrize("kind", SlotKind)
def test_a_slot_shows_no_key(quick: None, kind: SlotKind) -> None:
    """Neither a slot nor a refusal with its traceback shows the root key, the material, or what can be guessed at."""
    slot = slot_of(kind)
    with pytest.raises(VestryError) as refusal:
        open_slot(slot, OTHER_STORE, material(kind))
    text = f"{slot!r}{slot}{told(refusal.value)}"
    assert not any(tells(text, key) for key in (ROOT, material(kind), slot.check, slot.sealed_root_key))


def test_a_key_that_is_nearly_right_is_wrong() -> None:
    """Each bit of the key counts."""
    data = slot_of().encode()
    assert all(is_refused(data, key) for key in flipped(KEY))
