from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.patch import diff

# Values that Python takes for equal and JSON doesn't, under few keys, so that documents meet.
DOCUMENTS: st.SearchStrategy[Json] = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 0.0, -0.0, "1", "", 2**70]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["a", "/", "~", "0", ""]), inner),
    max_leaves=15,
)


@given(DOCUMENTS, DOCUMENTS)
def test_applying_the_difference_gives_the_other_document(before: Json, after: Json) -> None:
    """The operations turn one document into the other, byte for byte, and are none when there is no difference."""
    operations = diff(before, after)
    assert canonical(apply(before, operations)) == canonical(after)
    assert bool(operations) == (canonical(before) != canonical(after))


def apply(document: Json, operations: Sequence[dict[str, Json]]) -> Json:
    """Apply a JSON Patch as RFC 6902 says, knowing nothing of how it was made."""
    root = {"": copy.deepcopy(document)}
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
        target: Json = root
        for part in parts[:-1]:
            target = target[int(part)] if isinstance(target, list) else target[part]
        step: Json = int(parts[-1]) if isinstance(target, list) else parts[-1]
        value = copy.deepcopy(operation.get("value"))
        if operation["op"] == "remove":
            del target[step]
        elif operation["op"] == "add" and isinstance(target, list):
            assert step <= len(target)
            target.insert(step, value)
        else:
            assert operation["op"] == "add" or step in (range(len(target)) if isinstance(target, list) else target)
            target[step] = value
    return root[""]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ([1, 2, 3], [1, 3], [{"op": "remove", "path": "/1"}]),
        ([1, 3], [1, 2, 3], [{"op": "add", "path": "/1", "value": 2}]),
        ([{"a": 1}, 2], [{"a": 3}, 2], [{"op": "replace", "path": "/0/a", "value": 3}]),
        ({"x~/": 1}, {}, [{"op": "remove", "path": "/x~0~1"}]),
        ({}, [], [{"op": "replace", "path": "", "value": []}]),
        ([1, 2, 3], [], [{"op": "remove", "path": f"/{index}"} for index in (2, 1, 0)]),
    ],
)
def test_the_difference_says_no_more_than_what_changed(before: Json, after: Json, expected: Json) -> None:
    """Common members, and the common start and end of an array, are left alone."""
    assert canonical(diff(before, after)) == canonical(expected)


def test_large_arrays_take_time_in_proportion_to_their_size() -> None:
    """Sixty thousand items that all moved are told apart at once."""
    before = [index % 31 for index in range(60_000)]
    started = time.perf_counter()
    assert diff(before, before[::-1])
    assert time.perf_counter() - started < 2
