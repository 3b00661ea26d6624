"""Dotted paths and JSON Pointers."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestry import InvalidPath
from vestry.paths import parse, parse_pointer, resolve, to_pointer

DOCUMENT = {"a": {"b": [10, {"c": 11}]}, "": 1, "x.y": 2, "/z": 3, "~m/n": 4, "0": 5, 'q"': 6}
KEYS = st.lists(st.text(st.characters(codec="utf-8")), max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b.0", 10),
        ("a.b.1.c", 11),
        ("/a/b/1/c", 11),
        ("/", 1),
        ('""', 1),
        ('"x.y"', 2),
        ("'x.y'", 2),
        ("/x.y", 2),
        ('"/z"', 3),
        ("/~1z", 3),
        ("/~0m~1n", 4),
        ("~m/n", 4),
        ("0", 5),
        ('q"', 6),
        (r'"q\""', 6),
        (r'"\u0071\""', 6),
        ("", DOCUMENT),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: object) -> None:
    """Bare, quoted and pointer forms lead where they say."""
    assert resolve(DOCUMENT, parse(path)) == value


@pytest.mark.parametrize("path", ["a.c", "a.b.2", "a.b.-1", "a.b.01", "a.b.x", "a.b.0.c", "/a/b/-", "A", " a", "x.y"])
def test_a_path_may_lead_nowhere(path: str) -> None:
    """What is absent, beyond an array's end or inside a scalar raises KeyError."""
    with pytest.raises(KeyError):
        resolve(DOCUMENT, parse(path))


@pytest.mark.parametrize("path", [".", "a.", ".a", "a..b", '"a', "'a", '"a"b', '"a".', r'"\x"', "/~", "/~2", "/a~"])
def test_a_path_may_be_unreadable(path: str) -> None:
    """An empty key, an open quote, a bad escape raise InvalidPath with the path in the message."""
    with pytest.raises(InvalidPath) as caught:
        parse(path)
    assert repr(path) in str(caught.value)


def test_a_pointer_is_no_dotted_path() -> None:
    """Where only a pointer will do, a dotted path is refused."""
    with pytest.raises(InvalidPath):
        parse_pointer("a.b")


@given(KEYS)
def test_pointers_round_trip(keys: tuple[str, ...]) -> None:
    """A pointer made of keys is read as those keys."""
    assert parse_pointer(to_pointer(keys)) == keys
    assert parse(to_pointer(keys)) == keys


@given(KEYS.filter(bool))
def test_quoted_paths_round_trip(keys: tuple[str, ...]) -> None:
    """Any keys can be written as a dotted path, quoted as JSON strings."""
    assert parse(".".join(json.dumps(key) for key in keys)) == keys


@given(st.lists(st.text(string.ascii_letters + string.digits + "_-", min_size=1), min_size=1))
def test_plain_keys_need_no_quotes(keys: list[str]) -> None:
    """Keys of letters, digits, - and _ are joined with dots as they are."""
    assert parse(".".join(keys)) == tuple(keys)


@given(st.text())
def test_nothing_else_is_raised(path: str) -> None:
    """Any text is a path, or InvalidPath."""
    try:
        keys: Any = parse(path)
    except InvalidPath:
        return
    assert isinstance(keys, tuple)
