from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.secrets.test_secret_generators import GENERATORS
from vestryd.domain.sealing.keyring import authenticate
from vestryd.domain.secrets.heads import Head, Version, decode_head, encode_head, head_key
from vestryd.domain.secrets.index import INDEX, Index, decode_index, encode_index, member
from vestryd.domain.secrets.rotation import RotationPolicy
from vestryd.domain.secrets.settings import Settings

KEY = b"k" * 32
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as asked for
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
SPANS = st.timedeltas(timedelta(0), timedelta(days=300))
POLICIES = st.builds(RotationPolicy, st.none() | SPANS, SPANS, st.none() | GENERATORS)
SETTINGS = st.builds(
    Settings, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3), st.none() | POLICIES, st.none() | TIMES
)
VERSIONS = st.builds(
    Version, st.integers(1, 99), TIMES, TEXTS, st.integers(1, 65536), st.integers(0, 9), TEXTS, st.none() | TIMES
)
HEADS = st.builds(
    Head,
    namespace=st.just("billing"),
    name=st.sampled_from(["a", "db-password", "x.y"]),
    create_time=TIMES,
    update_time=TIMES,
    author=TEXTS,
    settings=SETTINGS,
    current=st.integers(0, 9),
    previous=st.integers(0, 9),
    pending=st.integers(0, 9),
    newest=st.integers(0, 2**40),
    current_time=st.none() | TIMES,
    previous_until=st.none() | TIMES,
    delete_time=st.none() | TIMES,
    versions=st.lists(VERSIONS, max_size=3, unique_by=lambda one: one.number).map(
        lambda versions: {one.number: one for one in versions}
    ),
)


@given(head=HEADS)
def test_a_head_survives_its_record(head: Head) -> None:
    """Everything that is known of a secret is in its record, to the microsecond."""
    assert decode_head(head_key(head.namespace, head.name), encode_head(head, KEY), KEY) == head


@given(head=HEADS, place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_head_that_was_changed_is_refused(head: Head, place: int, bit: int) -> None:
    """Any flipped bit, another key and another place in the store make it a stranger's."""
    key, record = head_key(head.namespace, head.name), encode_head(head, KEY)
    flipped = bytearray(record)
    flipped[place % len(record)] ^= 1 << bit
    for where, what, mac_key in ((key, bytes(flipped), KEY), (key + "2", record, KEY), (key, record, b"o" * 32)):
        with pytest.raises(ValueError, match="authentic"):
            decode_head(where, what, mac_key)


def test_a_head_of_another_release_is_refused() -> None:
    """What is authentic and has other members is refused like damage, not with a crash."""
    body = b'{"version":2}'
    record = body + authenticate(KEY, "secret", "secret/a/b", body)
    with pytest.raises(ValueError, match="another release"):
        decode_head("secret/a/b", record, KEY)


@given(
    index=st.builds(
        Index,
        st.integers(0, 2**60),
        st.integers(0, 10**6),
        st.integers(0, 2**256 - 1),
        st.dictionaries(st.integers(1, 99), st.integers(0, 2**31), max_size=3),
    )
)
def test_an_index_survives_its_record(index: Index) -> None:
    """The digest comes back, and two records of one index don't show that it is the same."""
    record = encode_index(index, KEY)
    assert decode_index(record, KEY) == index
    assert encode_index(index, KEY) != record
    assert f"{index.digest:064x}".encode() not in record
    for place in (0, len(record) // 2, len(record) - 1):
        with pytest.raises(ValueError, match="authentic"):
            decode_index(record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :], KEY)


def test_a_head_belongs_to_its_place_in_the_digest() -> None:
    """The same record at another key is another member."""
    assert member(KEY, "secret/a/b", b"x" * 40) != member(KEY, "secret/a/c", b"x" * 40)
    assert INDEX == "secret-index"
