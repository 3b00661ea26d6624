from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values import JSON
from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import Json
from vestryd.domain.pointer import escape, join, leaves, resolve, split

# RFC 6901, section 5
DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_rfc_6901_resolve(pointer: str, expected: Json) -> None:
    """Section 5 of RFC 6901 holds."""
    assert resolve(DOCUMENT, pointer) == expected


def test_escapes_are_undone_in_the_order_of_the_rfc() -> None:
    """`~01` is `~1`, not `/` (RFC 6901, section 4)."""
    assert split("/~01") == ("~1",)


@pytest.mark.parametrize(
    "pointer",
    [
        *("/nope", "//x", "/foo/2", "/foo/0/x", "/foo/a", "/foo/"),
        *("/foo/-", "/foo/-1", "/foo/00", "/foo/01", "/foo/+1", "/foo/ 1", "/foo/1_0", "/foo/٣", "/foo/1.0"),
        "/foo/" + "9" * 5000,
    ],
)
def test_a_pointer_into_nowhere_is_a_lookup_error(pointer: str) -> None:
    """A missing member, an index out of range or not in the RFC's form, and a step into a scalar lead nowhere."""
    with pytest.raises(LookupError):
        resolve(DOCUMENT, pointer)


@pytest.mark.parametrize("pointer", ["foo", "#/foo", "/a~", "/a~2b", "/~~0", " "])
def test_a_malformed_pointer_is_an_invalid_field(pointer: str) -> None:
    """A pointer is empty or begins with a slash, and its tildes are escapes."""
    with pytest.raises(InvalidField) as caught:
        split(pointer)
    assert caught.value.field_name == "pointer"


@given(st.lists(st.text()))
def test_split_undoes_join(parts: list[str]) -> None:
    """Any parts survive the round trip."""
    assert split(join(parts)) == tuple(parts)


@given(JSON)
def test_the_pointer_of_each_leaf_leads_to_it(value: Json) -> None:
    """Leaves are values without members, each at its own pointer."""
    found = list(leaves(value))
    assert len({pointer for pointer, _ in found}) == len(found) > 0
    for pointer, leaf in found:
        assert resolve(value, pointer) is leaf
        assert not isinstance(leaf, dict) or not leaf


def test_arrays_and_empty_objects_are_leaves() -> None:
    """Only an object with members is not a leaf; the prefix stands before each pointer."""
    assert list(leaves({"a": {"b/c": [{"d": 1}]}, "e": {}}, "/x")) == [("/x/a/b~1c", [{"d": 1}]), ("/x/e", {})]


def test_escape_leaves_no_slash() -> None:
    """Both characters with a meaning are escaped, the tilde first."""
    assert escape("~/") == "~0~1"
