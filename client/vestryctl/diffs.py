"""What differs between two documents, for people: as a unified diff of their text, or pointer by pointer."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from vestry.paths import to_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONTEXT_LINES = 3
_INDENT = "  "


class Mark(Enum):
    """What a line of a diff is; the value is the style that it has on a terminal."""

    HEADER = "bold"
    HUNK = "cyan"
    OLD = "red"
    NEW = "green"
    SAME = ""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a document. A trailing comma is kept apart, so that a new last member doesn't change the line before."""

    text: str
    container: str
    comma: str = ""


def compact(value: Any) -> str:
    """Return `value` as JSON in one line, keys sorted."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))


def pretty(value: Any) -> str:
    """Return `value` as indented JSON, keys sorted, without a line break at its end."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are the same JSON; unlike Python's ==, which takes 1, 1.0 and true for one."""
    return left == right and compact(left) == compact(right)


def unified(old: Any, new: Any, old_name: str, new_name: str) -> Iterator[DiffLine]:
    """Yield the unified diff of two documents' pretty-printed text; nothing when they are the same.

    As git names the function that a hunk is in, each hunk names the pointer of the object or array it begins in.
    """
    old_lines, new_lines = list(_lines(old)), list(_lines(new))
    matcher = difflib.SequenceMatcher(None, [line.text for line in old_lines], [line.text for line in new_lines])
    for number, group in enumerate(matcher.get_grouped_opcodes(_CONTEXT_LINES)):
        if number == 0:
            yield DiffLine(Mark.HEADER, f"--- {old_name}")
            yield DiffLine(Mark.HEADER, f"+++ {new_name}")
        _, old_start, _, new_start, _ = group[0]
        _, _, old_stop, _, new_stop = group[-1]
        place = f"@@ -{_range(old_start, old_stop)} +{_range(new_start, new_stop)} @@"
        container = _container(group, old_lines, new_lines)
        yield DiffLine(Mark.HUNK, f"{place} {container}".rstrip())
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from _marked(Mark.SAME, " ", new_lines[j1:j2])
                continue
            yield from _marked(Mark.OLD, "-", old_lines[i1:i2])
            yield from _marked(Mark.NEW, "+", new_lines[j1:j2])


def _marked(mark: Mark, sign: str, lines: Sequence[_Line]) -> Iterator[DiffLine]:
    for line in lines:
        yield DiffLine(mark, f"{sign}{line.text}{line.comma}")


def _container(group: Sequence[tuple[str, int, int, int, int]], old: Sequence[_Line], new: Sequence[_Line]) -> str:
    tag, i1, _, j1, _ = next(opcode for opcode in group if opcode[0] != "equal")
    return new[j1].container if tag == "insert" else old[i1].container


def _range(start: int, stop: int) -> str:
    """Return a hunk's range as diff(1) writes it."""
    length = stop - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"


def _lines(value: Any, *, lead: str = "", label: str = "", pointer: str = "", comma: str = "") -> Iterator[_Line]:
    """Yield the lines of `pretty(value)`, each with the pointer of the container that it stands in."""
    container = pointer.rpartition("/")[0]
    if not isinstance(value, dict | list) or not value:
        yield _Line(f"{lead}{label}{json.dumps(value, ensure_ascii=False)}", container, comma)
        return
    members = sorted(value.items()) if isinstance(value, dict) else [(str(i), item) for i, item in enumerate(value)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield _Line(f"{lead}{label}{opening}", container)
    for number, (key, member) in enumerate(members, start=1):
        yield from _lines(
            member,
            lead=lead + _INDENT,
            label=f"{json.dumps(key, ensure_ascii=False)}: " if isinstance(value, dict) else "",
            pointer=pointer + to_pointer((key,)),
            comma="," if number < len(members) else "",
        )
    yield _Line(f"{lead}{closing}", container, comma)


def by_pointer(old: Any, new: Any, pointer: str = "") -> Iterator[DiffLine]:
    """Yield a line for each value that went, came or changed, as `- /pointer: value` and `+ /pointer: value`.

    Arrays of different lengths are compared as a whole: by index, one insertion would look like a change of all that
    follow.
    """
    if same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            below = pointer + to_pointer((key,))
            if key not in new:
                yield _old(below, old[key])
            elif key not in old:
                yield _new(below, new[key])
            else:
                yield from by_pointer(old[key], new[key], below)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from by_pointer(before, after, f"{pointer}/{index}")
    else:
        yield _old(pointer, old)
        yield _new(pointer, new)


def _old(pointer: str, value: Any) -> DiffLine:
    return DiffLine(Mark.OLD, f"- {pointer or '(all)'}: {compact(value)}")


def _new(pointer: str, value: Any) -> DiffLine:
    return DiffLine(Mark.NEW, f"+ {pointer or '(all)'}: {compact(value)}")
