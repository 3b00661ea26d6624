"""A schema as a graph: which parts of it may speak about a place in a document, and which of those mark it as secret.

Whether a part applies can depend on the document (`if`, `oneOf`, …). The graph doesn't ask: what may apply counts as
applying, so that a place may be taken for secret that isn't, but not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urldefrag, urljoin

import jsonschema_rs

from vestryd.domain.errors import InvalidField, Violation
from vestryd.domain.faults import shown
from vestryd.domain.jsonvalue import Json
from vestryd.domain.pointer import escape, resolve
from vestryd.domain.schema.patterns import matcher

META_SCHEMA = "https://json-schema.org/draft/2020-12/schema"

_VOCABULARIES = ("core", "applicator", "unevaluated", "validation", "meta-data", "format-annotation", "content")
_STANDARD = frozenset({META_SCHEMA, *(f"https://json-schema.org/draft/2020-12/meta/{name}" for name in _VOCABULARIES)})
_SECRET_MARKS = ("writeOnly", "x-secret")

# Keywords with a schema, an array of schemas, or an object of schemas, about the same place …
_SAME_PLACE = ("not", "if", "then", "else", "contentSchema", "allOf", "anyOf", "oneOf")
_SAME_PLACE_BY_NAME = ("dependentSchemas", "dependencies")
# … about what is below it …
_EVERY_MEMBER = ("items", "prefixItems", "contains", "unevaluatedItems", "unevaluatedProperties")
# … or about neither: names, and schemas that wait for a reference.
_ELSEWHERE = ("propertyNames",)
_ELSEWHERE_BY_NAME = ("$defs", "definitions")


@dataclass(slots=True, eq=False)
class _Node:
    """One schema object inside the schema, and the nodes that it applies."""

    schema: dict[str, Json]
    pointer: str
    base: str
    same_place: list[_Node] = field(default_factory=list)
    properties: dict[str, _Node] = field(default_factory=dict)
    patterns: list[tuple[jsonschema_rs.Validator, _Node]] = field(default_factory=list)
    additional: list[_Node] = field(default_factory=list)
    every_member: list[_Node] = field(default_factory=list)
    holds_secret: bool = False  # here or below

    @property
    def is_secret(self) -> bool:
        return any(self.schema.get(mark) is True for mark in _SECRET_MARKS)

    def applied(self) -> Iterator[_Node]:
        yield from self.same_place
        yield from self.properties.values()
        yield from (node for _, node in self.patterns)
        yield from self.additional
        yield from self.every_member

    def members(self, part: str) -> Iterator[_Node]:
        """Yield the nodes that may speak about the member or item `part`."""
        named = [self.properties[part]] if part in self.properties else []
        named += [node for pattern, node in self.patterns if pattern.is_valid(part)]
        yield from named or self.additional
        yield from self.every_member


@dataclass(frozen=True, slots=True)
class Sight:
    """What a schema says about one place.

    `secret_depth` is how many parts lead to the outermost secret that the place is, or is in; None when it is in none.
    `holds_secret` tells whether it is in one, or may have one below. `names` are the members that the schema knows there.
    """

    secret_depth: int | None
    holds_secret: bool
    names: frozenset[str]

    @property
    def is_in_secret(self) -> bool:
        """Tell whether the place is a secret, or inside one."""
        return self.secret_depth is not None


class Graph:
    """The graph of one schema, whose references stay inside it. It keeps the document and expects it not to change."""

    def __init__(self, document: Json) -> None:
        self.violations: list[Violation] = []  # references that can't be followed, and identifiers that clash
        self._nodes: dict[int, _Node] = {}  # id() of a schema object -> its node
        self._targets: dict[str, _Node] = {}  # URI, with an anchor as its fragment -> what it names
        self._dynamic: dict[str, list[_Node]] = {}  # dynamic anchor -> everything that bears it
        self._unlinked: list[_Node] = []
        self._root = self._add(document, "", "")
        linked: list[_Node] = []
        while self._unlinked:
            linked.append(self._unlinked.pop())
            self._link(linked[-1])
        for node in linked:
            self._link_dynamically(node)
        _mark_holders(linked)

    def look(self, parts: Sequence[str | int]) -> Sight:
        """Tell what the schema says about the place that `parts` lead to."""
        nodes = _spread([self._root] if self._root else [])
        secret_depth = 0 if _any_secret(nodes) else None
        for depth, part in enumerate(parts, start=1):
            nodes = _spread(member for node in nodes for member in node.members(str(part)))
            if secret_depth is None and _any_secret(nodes):
                secret_depth = depth
        names = frozenset(name for node in nodes for name in node.schema.get("properties", ()))
        return Sight(secret_depth, secret_depth is not None or any(node.holds_secret for node in nodes), names)

    def _add(self, schema: Json, pointer: str, base: str) -> _Node | None:
        """Return the node of a schema object, made when it is new; None for true and false, which mark nothing."""
        if not isinstance(schema, dict):
            return None
        if id(schema) in self._nodes:
            return self._nodes[id(schema)]
        identifier = schema.get("$id")
        if isinstance(identifier, str):
            base = urldefrag(urljoin(base, identifier)).url
        node = self._nodes[id(schema)] = _Node(schema, pointer, base)
        self._unlinked.append(node)
        self._name(node)
        if schema.get("$schema", META_SCHEMA) not in (META_SCHEMA, f"{META_SCHEMA}#"):
            self._refuse(f"{pointer}/$schema", f"$schema must be {META_SCHEMA}: no other draft is supported")
        self._add_applied(node)
        return node

    def _name(self, node: _Node) -> None:
        names = [node.base] if "$id" in node.schema or not node.pointer else []
        if isinstance(anchor := node.schema.get("$anchor"), str):
            names.append(f"{node.base}#{anchor}")
        if isinstance(anchor := node.schema.get("$dynamicAnchor"), str):
            names.append(f"{node.base}#{anchor}")
            self._dynamic.setdefault(anchor, []).append(node)
        for name in names:
            if self._targets.setdefault(name, node) is not node:
                self._refuse(node.pointer, f"{shown(name)} names another part of the schema already")

    def _add_applied(self, node: _Node) -> None:
        node.same_place += self._add_all(node, _SAME_PLACE, _SAME_PLACE_BY_NAME)
        node.every_member += self._add_all(node, _EVERY_MEMBER)
        node.additional += self._add_all(node, ("additionalProperties",))
        self._add_all(node, _ELSEWHERE, _ELSEWHERE_BY_NAME)
        node.properties |= {name: child for name, child in self._add_named(node, "properties") if child}
        for pattern, child in self._add_named(node, "patternProperties"):
            compiled = self._compile(pattern, f"{node.pointer}/patternProperties/{escape(pattern)}")
            if child and compiled:
                node.patterns.append((compiled, child))
        if isinstance(own := node.schema.get("pattern"), str):
            self._compile(own, f"{node.pointer}/pattern")

    def _compile(self, pattern: str, pointer: str) -> jsonschema_rs.Validator | None:
        try:
            return matcher(pattern)
        except ValueError as error:
            self._refuse(pointer, str(error))
            return None

    def _add_all(self, node: _Node, keywords: Iterable[str], by_name: Iterable[str] = ()) -> list[_Node]:
        added: list[_Node | None] = []
        for keyword in keywords:
            value = node.schema.get(keyword)
            pointer = f"{node.pointer}/{keyword}"
            if isinstance(value, list):
                added += [self._add(item, f"{pointer}/{index}", node.base) for index, item in enumerate(value)]
            else:
                added.append(self._add(value, pointer, node.base))
        for keyword in by_name:
            added += [child for _, child in self._add_named(node, keyword)]
        return [child for child in added if child]

    def _add_named(self, node: _Node, keyword: str) -> list[tuple[str, _Node | None]]:
        value = node.schema.get(keyword)
        members = value if isinstance(value, dict) else {}
        pointer = f"{node.pointer}/{escape(keyword)}"
        return [(name, self._add(item, f"{pointer}/{escape(name)}", node.base)) for name, item in members.items()]

    def _link(self, node: _Node) -> None:
        for keyword in ("$ref", "$dynamicRef"):
            if isinstance(reference := node.schema.get(keyword), str):
                try:
                    target = self._find(reference, node.base)
                except (LookupError, ValueError, InvalidField):
                    problem = f"{shown(reference)} leads nowhere inside this schema, and nothing is fetched"
                    self._refuse(f"{node.pointer}/{keyword}", problem)
                    continue
                node.same_place += [target] if target else []

    def _link_dynamically(self, node: _Node) -> None:
        if isinstance(reference := node.schema.get("$dynamicRef"), str):
            node.same_place += self._dynamic.get(urldefrag(reference).fragment, [])

    def _find(self, reference: str, base: str) -> _Node | None:
        """Return what a reference leads to; None when that marks nothing: true, false, or a standard meta-schema.

        Raises LookupError, ValueError or InvalidField when it leads nowhere.
        """
        joined = f"{base}{reference}" if reference.startswith("#") else urljoin(base, reference)
        uri, fragment = urldefrag(joined)
        fragment = unquote(fragment)
        if uri in _STANDARD and uri not in self._targets:
            return None
        if fragment and not fragment.startswith("/"):
            return self._targets[f"{uri}#{fragment}"]
        resource = self._targets[uri]
        found = resolve(resource.schema, fragment)
        if not isinstance(found, dict | bool):
            raise LookupError(reference)  # noqa: TRY004 - it leads to something, but to no schema
        return self._add(found, f"{resource.pointer}{fragment}", resource.base)

    def _refuse(self, pointer: str, problem: str) -> None:
        self.violations.append(Violation(pointer, "schema", problem))


def _spread(nodes: Iterable[_Node]) -> list[_Node]:
    """Return `nodes` and all that they apply to the same place, each once."""
    found = dict.fromkeys(nodes)
    waiting = list(found)
    while waiting:
        fresh = [node for node in waiting.pop().same_place if node not in found]
        found |= dict.fromkeys(fresh)
        waiting += fresh
    return list(found)


def _any_secret(nodes: Iterable[_Node]) -> bool:
    return any(node.is_secret for node in nodes)


def _mark_holders(nodes: Iterable[_Node]) -> None:
    appliers: dict[_Node, list[_Node]] = {}
    for node in nodes:
        for applied in node.applied():
            appliers.setdefault(applied, []).append(node)
    waiting = [node for node in nodes if node.is_secret]
    while waiting:
        node = waiting.pop()
        if not node.holds_secret:
            node.holds_secret = True
            waiting += appliers.get(node, [])
