"""Resources: paths of segments, the patterns that name them, and which of many patterns match one.

A pattern is a path too. In a segment, `*` stands for any characters, none too; `**` as the whole last segment stands for any
number of further segments, none too. Everything else stands for itself, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vestryd.domain.policy.findings import text_problem

MAX_PATTERN = 512  # characters

_REST = "**"
_ANY = "*"


def pattern_problem(pattern: str) -> str:
    """Return why `pattern` can't be used, and what to write; empty when it can."""
    problem = text_problem(pattern, longest=MAX_PATTERN)
    if problem:
        return problem
    *before, last = pattern.split("/")
    if "" in before or not last:
        return "it has an empty segment: write one '/' between segments, and none at the ends"
    if not {".", ".."}.isdisjoint((*before, last)):
        return "it has a segment '.' or '..', which leads nowhere: write out the path"
    if any(_REST in segment for segment in before) or (_REST in last and last != _REST):
        return "'**' stands only for the whole last segment, as in 'namespaces/billing/**': write '*' for one segment"
    return ""


def can_meet(pattern: str, shape: str) -> bool:
    """Tell whether any resource of a shape matches `pattern`, which `pattern_problem` has nothing against.

    A shape is a path in which the segment `*` stands for any one segment; `**` by itself is the shape of every path.
    """
    parts, places = pattern.split("/"), shape.split("/")
    if parts[-1] == _REST:
        parts.pop()
        places = places[: len(parts)]
    if shape == _REST:
        return True
    return len(parts) == len(places) and all(map(_can_be, parts, places))


def _can_be(part: str, place: str) -> bool:
    """Tell whether one segment of a pattern can match one of a shape."""
    if _ANY in (part, place):
        return True
    head, *between = part.split(_ANY)
    if not between:
        return part == place
    *between, tail = between
    end = len(place) - len(tail)
    return (
        place.startswith(head)
        and place.endswith(tail)
        and len(head) <= end
        and _has_in_order(place, between, len(head), end)
    )


class ResourceTrie:
    """Patterns, each for a set of rules; a set is an int with a bit for each rule.

    It is built once and then only read. A match takes time that grows with the resource's length and with the number of
    patterns that match it so far, segment by segment, but not with the number of all patterns; the exception are
    segments with the same text before the first `*` and after the last, which are tried one after the other.
    """

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, pattern: str, rules: int) -> None:
        """Add a pattern that `pattern_problem` has nothing against."""
        node = self._root
        *before, last = pattern.split("/")
        for segment in before:
            node = node.child(segment)
        if last == _REST:
            node.here_and_below |= rules
        else:
            node.child(last).here |= rules

    def match(self, resource: str) -> int:
        """Return the rules with a pattern that matches `resource`."""
        nodes = [self._root]
        rules = self._root.here_and_below
        for segment in resource.split("/"):
            reached = []
            for node in nodes:
                literal = node.literals.get(segment)
                if literal is not None:
                    reached.append(literal)
                if node.any is not None:
                    reached.append(node.any)
                if node.globs is not None:
                    reached.extend(node.globs.match(segment))
            if not reached:
                return rules
            for node in reached:
                if node.here_and_below:
                    rules |= node.here_and_below
            nodes = reached
        for node in nodes:
            rules |= node.here
        return rules


@dataclass(slots=True, eq=False)
class _Node:
    """A place in the trie: the beginning that some patterns have in common."""

    here: int = 0  # rules with a pattern that ends here
    here_and_below: int = 0  # rules with a pattern that goes on with `**`
    literals: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None  # behind the segment `*`
    globs: _Globs | None = None  # behind segments with a `*` in them

    def child(self, segment: str) -> _Node:
        """Return the node behind `segment`, made if need be."""
        if segment == _ANY:
            self.any = self.any or _Node()
            return self.any
        if _ANY in segment:
            self.globs = self.globs or _Globs()
            return self.globs.child(segment)
        return self.literals.setdefault(segment, _Node())


class _Globs:
    """The segments with a `*` that may follow one place.

    They are looked up by what stands before their first `*` and after their last: a dict for each pair of lengths.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}  # segment -> the node behind it
        # lengths of head and tail -> head and tail -> what must stand between them, in order, and the node
        self._shapes: dict[tuple[int, int], dict[tuple[str, str], list[tuple[list[str], _Node]]]] = {}

    def child(self, segment: str) -> _Node:
        if segment not in self._nodes:
            self._nodes[segment] = _Node()
            head, *between, tail = segment.split(_ANY)
            shape = self._shapes.setdefault((len(head), len(tail)), {})
            shape.setdefault((head, tail), []).append((between, self._nodes[segment]))
        return self._nodes[segment]

    def match(self, text: str) -> Iterator[_Node]:
        for (head, tail), shape in self._shapes.items():
            end = len(text) - tail
            if end < head:
                continue
            for between, node in shape.get((text[:head], text[end:]), ()):
                if not between or _has_in_order(text, between, head, end):
                    yield node


def _has_in_order(text: str, parts: list[str], start: int, end: int) -> bool:
    """Tell whether `parts` stand in `text` one behind the other: the first place for each leaves most room for the rest."""
    for part in parts:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True
