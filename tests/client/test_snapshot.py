"""Snapshots: reading, typed and not, and what can't be changed."""

from __future__ import annotations

import copy
import json
import pickle
import timeit
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestry import InvalidPath, MissingKey, Snapshot, WrongType
from vestry.frozen import freeze, is_same, thaw
from vestry.testing import FakeClient
from vestry.v1 import common_pb2, config_pb2

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
SNAPSHOT = Snapshot(
    "default",
    3,
    {
        "text": "secret",
        "whole": 7,
        "round": 7.0,
        "half": 0.5,
        "yes": True,
        "none": None,
        "list": [1],
        "object": {"a": 1},
        "span": "1h30m",
        "ms": "250ms",
    },
)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda s: s.get_str("text"), "secret"),
        (lambda s: s.get_int("whole"), 7),
        (lambda s: s.get_int("round"), 7),
        (lambda s: s.get_float("whole"), 7.0),
        (lambda s: s.get_float("half"), 0.5),
        (lambda s: s.get_bool("yes"), True),
        (lambda s: s.get_list("list"), [1]),
        (lambda s: s.get_dict("object"), {"a": 1}),
        (lambda s: s.get_duration("span"), timedelta(minutes=90)),
        (lambda s: s.get_duration("ms"), timedelta(milliseconds=250)),
        (lambda s: s.get_duration("half"), timedelta(milliseconds=500)),
        (lambda s: s.get_int("absent", 5), 5),
        (lambda s: s.get_duration("absent", timedelta(1)), timedelta(1)),
        (lambda s: s.get("absent"), None),
        (lambda s: s.get("none", 1), None),
        (lambda s: s.at("/object/a"), 1),
        (lambda s: s.at(""), SNAPSHOT.document),
        (lambda s: "object.a" in s, True),
        (lambda s: "object.b" in s, False),
    ],
)
def test_a_getter_returns_its_type(read: Callable[[Snapshot], Any], value: object) -> None:
    """A getter returns the value as its type, or the default when there is none."""
    found = read(SNAPSHOT)
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize(
    ("read", "expected", "found"),
    [
        (lambda s: s.get_str("whole"), "a string", "a number"),
        (lambda s: s.get_int("half"), "an integer", "a number"),
        (lambda s: s.get_int("yes"), "an integer", "a boolean"),
        (lambda s: s.get_float("text"), "a number", "a string"),
        (lambda s: s.get_float("yes", 1.0), "a number", "a boolean"),
        (lambda s: s.get_bool("whole"), "a boolean", "a number"),
        (lambda s: s.get_list("object"), "an array", "an object"),
        (lambda s: s.get_dict("list"), "an object", "an array"),
        (lambda s: s.get_dict("none", {}), "an object", "null"),
        (lambda s: s.get_duration("text"), "a duration (seconds, or a string like 1h30m)", "a string"),
    ],
)
def test_a_wrong_type_is_told_without_its_value(read: Callable[[Snapshot], Any], expected: str, found: str) -> None:
    """WrongType names the path and both types, and never the value; a default doesn't hide it."""
    with pytest.raises(WrongType) as caught:
        read(SNAPSHOT)
    assert (caught.value.expected, caught.value.found) == (expected, found)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_a_missing_key_names_where_it_was_sought() -> None:
    """MissingKey is a KeyError whose message has the path, the namespace and the version."""
    with pytest.raises(KeyError, match=r"config 'default' has nothing at 'object.b' \(version 3\)") as caught:
        SNAPSHOT.get_int("object.b")
    assert isinstance(caught.value, MissingKey)


def test_an_unreadable_path_has_no_default() -> None:
    """A path with an open quote is a mistake, not an absent key."""
    with pytest.raises(InvalidPath):
        SNAPSHOT.get('"a', 1)


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1s", "1h1", "1.s", "1e3s", "9" * 400 + "d"])
def test_what_is_no_duration(text: str) -> None:
    """A string without units, with a sign, with spaces or beyond all measure is no duration."""
    with pytest.raises(WrongType):
        Snapshot("default", 1, {"span": text}).get_duration("span")


def test_it_reads_the_wire() -> None:
    """A ConfigUpdate becomes a snapshot; integers survive, and a cause that is newer than this client is empty."""
    update = config_pb2.ConfigUpdate(
        namespace="n", version=2, document=b'{"big":9007199254740993}', author="a", cause=common_pb2.CAUSE_ROLLBACK
    )
    snapshot = Snapshot.from_update(update)
    assert snapshot["big"] == 9007199254740993
    assert (snapshot.cause, snapshot.create_time) == ("rollback", None)
    update.cause = 99  # type: ignore[assignment]
    assert Snapshot.from_update(update).cause == ""


@given(JSON)
def test_a_frozen_document_is_the_same_document(value: Any) -> None:
    """Freezing changes nothing that a reader, json or a comparison sees; thawing, copying and pickling give plain types."""
    frozen = freeze(value)
    assert frozen == value
    assert json.dumps(frozen) == json.dumps(value)
    for plain in (thaw(frozen), copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert plain == value
        assert type(plain) is type(value)
    assert is_same(frozen, freeze(value))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("list"),
        lambda d: d.update(a=1),
        lambda d: d.pop("list"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.setdefault("a", 1),
        lambda d: d.__ior__({"a": 1}),
        lambda d: d["list"].append(1),
        lambda d: d["list"].extend([1]),
        lambda d: d["list"].insert(0, 1),
        lambda d: d["list"].pop(),
        lambda d: d["list"].remove(1),
        lambda d: d["list"].clear(),
        lambda d: d["list"].sort(),
        lambda d: d["list"].reverse(),
        lambda d: d["list"].__setitem__(0, 2),
        lambda d: d["list"].__delitem__(0),
        lambda d: d["list"].__iadd__([1]),
        lambda d: d["list"].__imul__(2),
        lambda d: d["object"].update(a=2),
    ],
)
def test_a_document_can_not_be_corrupted(change: Callable[[Any], Any]) -> None:
    """Each way to change a dict or a list raises TypeError, at any depth."""
    before = json.dumps(SNAPSHOT.document)
    with pytest.raises(TypeError, match="can't be changed"):
        change(SNAPSHOT.document)
    assert json.dumps(SNAPSHOT.document) == before


def test_the_givers_document_is_not_the_snapshots() -> None:
    """What is changed outside after a snapshot was made doesn't show in it."""
    mine = {"list": [1]}
    snapshot = Snapshot("default", 1, mine)
    mine["list"].append(2)
    assert snapshot["list"] == [1]


def test_a_read_takes_less_than_a_microsecond() -> None:
    """The best of several runs of view["a.b"] is under 1 µs; some 0.1 is usual."""
    view = FakeClient({"default": {"providers": {"openai": {"timeout_seconds": 30}}}}).config()
    runs = timeit.repeat(lambda: view["providers.openai.timeout_seconds"], number=10_000, repeat=5)
    assert min(runs) / 10_000 < 1e-6
