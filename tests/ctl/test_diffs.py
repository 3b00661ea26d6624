from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given

from ctl.fake_documents import merge, patch_between
from ctl.test_documents import values
from vestryctl.diffs import Mark, by_pointer, pretty, same, unified
from vestryctl.merge_patches import setting
from vestryctl.patches import PatchFailed, apply_patch


@given(values, values)
def test_a_unified_diff_holds_both_documents(old: object, new: object) -> None:
    """With context enough, the lines that are not + are the old text, and those that are not - the new one."""
    lines = [line for line in unified(old, new, "a", "b") if line.mark not in {Mark.HEADER, Mark.HUNK}]
    if same(old, new):
        assert lines == []
    gone = [line.text[1:] for line in lines if line.mark is Mark.OLD]
    come = [line.text[1:] for line in lines if line.mark is Mark.NEW]
    assert set(gone) <= set(pretty(old).split("\n"))
    assert set(come) <= set(pretty(new).split("\n"))


def test_a_new_last_member_does_not_touch_the_line_before() -> None:
    """The comma that JSON needs is no difference."""
    lines = [line.text for line in unified({"a": 1}, {"a": 1, "b": 2}, "x", "y")]
    assert lines == ["--- x", "+++ y", "@@ -1,3 +1,4 @@", " {", '   "a": 1,', '+  "b": 2', " }"]


def test_a_hunk_names_the_container_that_it_changes() -> None:
    """As git names functions, a hunk names the pointer around it."""
    old = {"server": {"tls": {f"k{i}": i for i in range(9)}}}
    new = copy.deepcopy(old)
    new["server"]["tls"]["k5"] = 0
    assert next(line.text for line in unified(old, new, "x", "y") if line.mark is Mark.HUNK).endswith("@@ /server/tls")


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0, False), ([1], [True]), ({"a": 0}, {"a": False})])
def test_python_equality_is_not_json_equality(old: object, new: object) -> None:
    """1, 1.0 and true are three values."""
    assert not same(old, new)
    assert list(by_pointer(old, new))


def test_by_pointer_shows_what_went_came_and_changed() -> None:
    """Each value has its line; arrays of different lengths are compared whole."""
    old = {"a": 1, "b/c": [1, 2], "d": {"e": 1}}
    new = {"a": 2, "b/c": [1], "f": {"g": 1}}
    assert [line.text for line in by_pointer(old, new)] == [
        "- /a: 1",
        "+ /a: 2",
        "- /b~1c: [1, 2]",
        "+ /b~1c: [1]",
        '- /d: {"e": 1}',
        '+ /f: {"g": 1}',
    ]


def test_apply_patch_does_all_six_operations() -> None:
    """RFC 6902's operations are applied in order, and the document is not changed in place."""
    document = {"a": [1, 2, 3], "b": {"c": 1}}
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/1", "value": 9},
        {"op": "add", "path": "/a/-", "value": 4},
        {"op": "remove", "path": "/a/0"},
        {"op": "replace", "path": "/b/c", "value": 2},
        {"op": "copy", "from": "/b", "path": "/d"},
        {"op": "move", "from": "/b/c", "path": "/e~1f"},
    ]
    assert apply_patch(document, patch) == {"a": [9, 2, 3, 4], "b": {}, "d": {"c": 2}, "e/f": 2}
    assert document == {"a": [1, 2, 3], "b": {"c": 1}}


@pytest.mark.parametrize("path", ["/a/7", "/x/y", "/a/x"])
def test_a_patch_of_another_document_is_refused(path: str) -> None:
    """An operation that leads nowhere means that document and patch don't belong together."""
    with pytest.raises(PatchFailed):
        apply_patch({"a": [1]}, [{"op": "replace", "path": path, "value": 1}])


@given(values, values)
def test_apply_patch_undoes_a_difference(old: object, new: object) -> None:
    """A document with the difference applied is the other document."""
    old, new = {"doc": old}, {"doc": new}
    patch = json.loads(json.dumps(list(patch_between(old, new)))) if "/" not in json.dumps([old, new]) else None
    if patch is not None and "~" not in json.dumps([old, new]):
        assert same(apply_patch(old, patch), new)


def test_a_value_is_set_below_what_is_no_object() -> None:
    """As a merge patch does it, an object takes the place of a scalar on the way."""
    document = {"a": [{"b": 1}]}
    assert merge(document, setting(document, ("a", "0", "b", "c"), 2)) == {"a": [{"b": {"c": 2}}]}
