"""Bytes of texts and times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.sealing.binary import fields, from_microseconds, to_microseconds

PARTS = st.lists(st.binary(max_size=6), max_size=4)


@given(PARTS, PARTS)
def test_different_parts_never_give_the_same_bytes(some: list[bytes], others: list[bytes]) -> None:
    """Where one part ends and the next begins is part of the bytes."""
    assert (fields(*some) == fields(*others)) == (some == others)


def test_a_text_is_its_utf_8() -> None:
    """A text and its UTF-8 give the same bytes, after their number."""
    assert fields("ü") == fields("ü".encode()) == b"\0\0\0\2\xc3\xbc"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back(time: datetime) -> None:
    """A time survives to the microsecond, also before 1970."""
    assert from_microseconds(to_microseconds(time)) == time


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63)])
def test_what_is_no_time_is_refused(microseconds: int) -> None:
    """A number beyond the calendar is a ValueError."""
    with pytest.raises(ValueError, match="not a time"):
        from_microseconds(microseconds)
