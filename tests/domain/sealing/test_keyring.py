"""The keyring, and the key of the metadata."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealing.tampering import OTHER_STORE, STORE, flipped, tampered, tells, told
from vestryd.domain.errors import InvalidField, RecordDamaged
from vestryd.domain.sealing.keyring import Keyring, Term, TermState, authenticate, is_authentic, mac_key

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
ROOT = bytes(range(32))
FIRST = Keyring.create(NOW)
# Term 1 is retired, 2 decrypt-only, 3 active, 4 pending.
GROWN = FIRST.add_pending(NOW).activate(2).add_pending(NOW).activate(3).add_pending(NOW + timedelta(days=90)).retire(1)


def states(keyring: Keyring) -> list[str]:
    """Return the states of the terms, in their order."""
    return [term.state.value for term in keyring.terms]


def is_refused(root_key: bytes, store_id: str, blob: bytes) -> bool:
    """Return whether a keyring doesn't decode."""
    try:
        Keyring.decode(root_key, store_id, blob)
    except RecordDamaged as error:
        return error.kind == "keyring"
    return False


def test_the_life_of_a_term() -> None:
    """A term is pending, then active, then decrypt-only, then retired; there is always one that is active."""
    pending = FIRST.add_pending(NOW)
    assert (states(FIRST), states(pending)) == (["active"], ["active", "pending"])
    assert states(pending.activate(2)) == ["decrypt_only", "active"]
    assert states(pending.activate(2).retire(1)) == ["retired", "active"]
    assert states(GROWN) == ["retired", "decrypt_only", "active", "pending"]
    assert (GROWN.active.number, GROWN.pending) == (3, GROWN.terms[3])


def test_a_keyring_is_never_changed() -> None:
    """Each step gives a new keyring; who holds the one before can go on."""
    pending = FIRST.add_pending(NOW)
    pending.activate(2).retire(1)
    assert (states(FIRST), states(pending)) == (["active"], ["active", "pending"])
    assert FIRST.key(1) == pending.key(1)


def test_what_can_unwrap_has_a_key() -> None:
    """All terms but retired ones have keys, each its own; a retired one's is gone, as is that of none."""
    assert len({GROWN.key(2), GROWN.key(3), GROWN.key(4)}) == 3
    assert GROWN.terms[0].key == b""
    for number in (0, 1, 5, -1):
        with pytest.raises(KeyError):
            GROWN.key(number)


def test_there_is_one_pending_term_at_most() -> None:
    """A second pending term is refused until the first is activated or retired; a retired number is not used again."""
    pending = FIRST.add_pending(NOW)
    with pytest.raises(InvalidField, match="term 2 is pending already"):
        pending.add_pending(NOW)
    assert states(pending.retire(2).add_pending(NOW)) == ["active", "retired", "pending"]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5])
def test_only_a_pending_term_is_activated(number: int) -> None:
    """Neither an old term nor one that there isn't becomes active."""
    with pytest.raises(InvalidField, match="not pending"):
        GROWN.activate(number)


def test_the_active_term_is_not_retired() -> None:
    """The active term keeps its key; so the last key is never lost."""
    with pytest.raises(InvalidField, match="rotate the keyring before"):
        GROWN.retire(3)
    with pytest.raises(InvalidField, match="there is no term 5"):
        GROWN.retire(5)


def test_retiring_is_idempotent() -> None:
    """To retire a term that is retired changes nothing."""
    assert GROWN.retire(1) == GROWN


@pytest.mark.parametrize(
    "terms",
    [
        (),
        (replace(FIRST.terms[0], number=2),),
        (replace(FIRST.terms[0], key=b"short"),),
        (replace(FIRST.terms[0], state=TermState.PENDING),),
        (FIRST.terms[0], Term(2, bytes(32), TermState.ACTIVE, NOW)),
        (FIRST.terms[0], Term(2, bytes(32), TermState.RETIRED, NOW)),
    ],
)
def test_an_impossible_keyring_is_refused(terms: tuple[Term, ...]) -> None:
    """No, another or two active terms, gaps, and keys that are missing or should be: each is a ValueError."""
    with pytest.raises(ValueError, match="term"):
        Keyring(terms)


@given(st.integers(0, 2**64 - 1), st.text(max_size=20), st.binary(min_size=32, max_size=32))
def test_a_keyring_comes_back(generation: int, store_id: str, root_key: bytes) -> None:
    """What is encoded is decoded with the same root key for the same store, generation included."""
    assert Keyring.decode(root_key, store_id, GROWN.encode(root_key, store_id, generation)) == (GROWN, generation)


def test_no_byte_of_a_keyring_can_be_changed() -> None:
    """A blob with any bit flipped, cut anywhere or with a byte more is refused: its generation too is authentic."""
    assert all(is_refused(ROOT, STORE, blob) for blob in tampered(GROWN.encode(ROOT, STORE, 7)))


def test_a_keyring_belongs_to_its_root_key_and_store() -> None:
    """Another store's keyring, and one under another root key, are refused."""
    blob = GROWN.encode(ROOT, STORE, 7)
    assert is_refused(ROOT, OTHER_STORE, blob)
    assert all(is_refused(root_key, STORE, blob) for root_key in flipped(ROOT))


def test_no_key_stands_in_the_blob() -> None:
    """The blob has no key in the clear, and the same keyring never gives the same blob."""
    blob = GROWN.encode(ROOT, STORE, 7)
    assert not any(term.key in blob for term in GROWN.terms if term.key)
    assert blob != GROWN.encode(ROOT, STORE, 7)


def test_a_keyring_shows_no_key() -> None:
    """Neither `repr` nor `str` of a keyring and its terms, nor an error with its traceback, gives a key away."""
    with pytest.raises(RecordDamaged) as damaged:
        Keyring.decode(ROOT, STORE, GROWN.encode(ROOT, STORE, 7)[:-1])
    with pytest.raises(InvalidField) as refused:
        GROWN.retire(3)
    text = f"{GROWN!r}{GROWN}{GROWN.terms!r}{told(damaged.value)}{told(refused.value)}"
    assert not any(tells(text, key) for key in (ROOT, GROWN.key(2), GROWN.key(3), GROWN.key(4)))


def test_metadata_is_authentic_for_one_purpose_at_one_key() -> None:
    """A MAC is of the purpose, the store's key and the body, each to its end, and of the store: nothing can be moved."""
    key = mac_key(ROOT, STORE)
    mac = authenticate(key, "head", "secret/a/b", b"{}")
    assert len(mac) == 32
    assert is_authentic(key, "head", "secret/a/b", b"{}", mac)
    assert not is_authentic(key, "index", "secret/a/b", b"{}", mac)
    assert not is_authentic(key, "head", "secret/a/c", b"{}", mac)
    assert not is_authentic(key, "head", "secret/a/", b"b{}", mac)
    assert not is_authentic(key, "heads", "ecret/a/b", b"{}", mac)
    assert not is_authentic(key, "head", "secret/a/b", b"{ }", mac)
    assert not is_authentic(mac_key(ROOT, OTHER_STORE), "head", "secret/a/b", b"{}", mac)


def test_no_byte_of_a_mac_can_be_changed() -> None:
    """A MAC with any bit flipped, cut or grown is not authentic."""
    key = mac_key(ROOT, STORE)
    for mac in tampered(authenticate(key, "head", "secret/a/b", b"{}")):
        assert not is_authentic(key, "head", "secret/a/b", b"{}", mac)


def test_the_key_of_the_metadata_is_not_that_of_the_keyring() -> None:
    """What is derived for the MAC decrypts no keyring, though both come from the root key."""
    assert is_refused(mac_key(ROOT, STORE), STORE, GROWN.encode(ROOT, STORE, 7))
