"""The record of one secret version."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealing.tampering import OTHER_STORE, STORE, flipped, tampered, tells, told
from vestryd.domain.errors import RecordDamaged
from vestryd.domain.sealing.envelope import Place, open_record, rewrap, seal, term_of
from vestryd.domain.sealing.keyring import Keyring, TermState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Place(STORE, "billing", "db-password", 3)
OLD = Keyring.create(NOW)
NEW = OLD.add_pending(NOW).activate(2)

OVERHEAD = 96  # bytes that a record has more than its value
PAYLOAD = 68  # where the value begins, sealed


def is_refused(keyring: Keyring, place: Place, record: bytes) -> bool:
    """Return whether a record doesn't open, and the error names the place."""
    try:
        open_record(keyring, place, record)
    except RecordDamaged as error:
        return (error.kind, error.name, error.version) == ("secret", f"{place.namespace}/{place.name}", place.version)
    return False


@given(st.binary(min_size=1, max_size=300))
def test_a_value_comes_back(value: bytes) -> None:
    """Any bytes that are sealed are opened at the same place."""
    record = seal(OLD, PLACE, value)
    assert open_record(OLD, PLACE, record) == value
    assert len(record) == len(value) + OVERHEAD


def test_the_longest_value_comes_back() -> None:
    """64 KiB of every byte there is come back."""
    value = bytes(range(256)) * 256
    assert open_record(OLD, PLACE, seal(OLD, PLACE, value)) == value


def test_no_byte_of_a_record_can_be_changed() -> None:
    """A record with any bit flipped, cut anywhere or with a byte more is refused."""
    assert all(is_refused(NEW, PLACE, record) for record in tampered(seal(NEW, PLACE, b"hunter2")))


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, store_id=OTHER_STORE),
        replace(PLACE, namespace="shipping"),
        replace(PLACE, name="db-password2"),
        replace(PLACE, version=2),
        replace(PLACE, version=3 + 2**32),
        replace(PLACE, namespace="billin", name="gdb-password"),
        replace(PLACE, namespace="db-password", name="billing"),
    ],
)
def test_a_record_opens_at_its_own_place_only(place: Place) -> None:
    """A record that is moved to another store, namespace, name or version is refused there, to open and to re-wrap."""
    record = seal(OLD, PLACE, b"hunter2")
    assert is_refused(OLD, place, record)
    with pytest.raises(RecordDamaged):
        rewrap(NEW, place, record)


def test_a_record_opens_under_its_own_term_only() -> None:
    """A record that claims another term is refused, even when that has the same key."""
    record = seal(OLD, PLACE, b"hunter2")
    same_key = replace(NEW.terms[0], number=2, state=TermState.PENDING)
    twins = Keyring((OLD.terms[0], same_key))
    assert is_refused(twins, PLACE, record[:4] + b"\0\0\0\2" + record[8:])


def test_a_record_of_a_term_without_a_key_is_refused() -> None:
    """A term that there isn't, and one that is retired, open nothing."""
    record = seal(OLD, PLACE, b"hunter2")
    assert is_refused(Keyring.create(NOW), PLACE, record)
    assert is_refused(OLD, PLACE, seal(NEW, PLACE, b"hunter2"))
    assert is_refused(NEW.retire(1), PLACE, record)


def test_the_parts_of_two_records_do_not_mix() -> None:
    """The wrapped key of one record opens no other payload, even of the same place and value."""
    one, other = seal(OLD, PLACE, b"hunter2"), seal(OLD, PLACE, b"hunter2")
    assert is_refused(OLD, PLACE, one[:PAYLOAD] + other[PAYLOAD:])


def test_a_payload_is_not_taken_for_a_wrapped_key() -> None:
    """A forger who gets 32 bytes sealed as a value, under the term's very key, has no wrapped key that he knows."""
    sealed_zeros = seal(OLD, PLACE, bytes(32), random=lambda count: OLD.active.key[:count])[PAYLOAD:]
    under_zeros = seal(OLD, PLACE, b"forged", random=bytes)
    assert is_refused(OLD, PLACE, under_zeros[:8] + sealed_zeros + under_zeros[PAYLOAD:])


def test_rewrapping_moves_a_record_to_the_active_term() -> None:
    """The record is under the active term afterwards, its payload is the same bytes, and the old term may go."""
    record = seal(OLD, PLACE, b"hunter2")
    moved = rewrap(NEW, PLACE, record)
    assert (term_of(record), term_of(moved)) == (1, 2)
    assert moved[PAYLOAD:] == record[PAYLOAD:]
    assert open_record(NEW.retire(1), PLACE, moved) == b"hunter2"


def test_rewrapping_again_changes_nothing() -> None:
    """A record under the active term is returned as it is: re-wrapping is idempotent, and costs the term nothing."""
    moved = rewrap(NEW, PLACE, seal(OLD, PLACE, b"hunter2"))
    assert rewrap(NEW, PLACE, moved) == moved


def test_rewrapping_makes_nothing_good() -> None:
    """A record whose wrapped key is damaged can't be re-wrapped; one whose payload is stays as damaged as it was."""
    record = seal(OLD, PLACE, b"hunter2")
    for damaged in flipped(record[:PAYLOAD]):
        with pytest.raises(RecordDamaged):
            rewrap(NEW, PLACE, damaged + record[PAYLOAD:])
    for damaged in flipped(record[PAYLOAD:]):
        assert is_refused(NEW, PLACE, rewrap(NEW, PLACE, record[:PAYLOAD] + damaged))


@pytest.mark.parametrize(
    "record", [b"", b"VS\1\1", b"VK\1\1" + bytes(100), b"VS\2\1" + bytes(100), b"VS\1\2" + bytes(100)]
)
def test_what_is_not_a_record_has_no_term(record: bytes) -> None:
    """Bytes that don't begin as a record, or end too soon, are a ValueError."""
    with pytest.raises(ValueError, match="not the record"):
        term_of(record)


def test_no_nonce_and_no_data_key_comes_twice() -> None:
    """In 10 000 records of one value, nothing random is the same twice."""
    drawn: list[bytes] = []
    records = [seal(OLD, PLACE, b"hunter2", random=recorded(drawn)) for _ in range(10_000)]
    assert len(drawn) == len(set(drawn)) == 30_000
    assert len({record[8:20] for record in records} | {record[68:80] for record in records}) == 20_000
    assert sorted(map(len, drawn)) == [12] * 20_000 + [32] * 10_000


def recorded(drawn: list[bytes]) -> Callable[[int], bytes]:
    """Return a source of randomness that notes what it gave."""

    def random(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    return random


def test_a_refusal_tells_no_key() -> None:
    """Neither the error nor its traceback shows the term's key or the value."""
    record = seal(OLD, PLACE, b"hunter2")
    with pytest.raises(RecordDamaged) as refusal:
        open_record(OLD, PLACE, record[:-1])
    text = told(refusal.value)
    assert not tells(text, OLD.active.key)
    assert not tells(text, b"hunter2")
