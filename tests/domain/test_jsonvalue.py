from __future__ import annotations

import json

import pytest
from hypothesis import given

from domain.values import JSON
from vestryd.domain.jsonvalue import Json, canonical, checksum, measure


@given(JSON)
def test_the_canonical_form_says_the_value_and_nothing_else(value: Json) -> None:
    """Reading the canonical form gives a value with the same canonical form."""
    form = canonical(value)
    assert canonical(json.loads(form)) == form


def test_keys_are_sorted_by_code_point_without_white_space() -> None:
    """The order of keys is that of their code points, not of UTF-16 or of insertion."""
    assert canonical({"\U0001f600": 1, "\uffee": 2, "b": [1, 2], "B": {}}) == (
        '{"B":{},"b":[1,2],"\uffee":2,"\U0001f600":1}'.encode()
    )


def test_integers_of_any_size_survive() -> None:
    """No integer passes through a float."""
    assert canonical([2**53 + 1, -(10**400)]) == b"[9007199254740993,-1" + b"0" * 400 + b"]"


def test_numbers_that_python_takes_for_equal_are_different_documents() -> None:
    """1, 1.0, true, 0.0 and -0.0 keep apart."""
    assert len({canonical(value) for value in (1, 1.0, True, 0.0, -0.0)}) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "\ud800", {"\udfff": 1}])
def test_what_json_or_utf_8_cannot_say_is_refused(value: Json) -> None:
    """NaN, infinities and lone surrogates raise ValueError."""
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates"):
        canonical(value)


def test_the_checksum_is_sha_256_in_hexadecimal() -> None:
    """The checksum is the one that sha256sum prints."""
    assert checksum(b"{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("value", "expected"), [(1, (0, 1)), ([], (1, 1)), ({"a": [1, {"b": {}}]}, (4, 5)), ([[], [[]]], (3, 4))]
)
def test_depth_counts_containers_and_size_counts_values(value: Json, expected: tuple[int, int]) -> None:
    """A scalar has depth 0, an empty array 1; every value counts once."""
    assert measure(value) == expected
