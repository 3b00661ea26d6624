from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.jsonvalue import Json
from vestryd.domain.schema.schema import Schema

CANARY = "hunter2"
SECRET = {"type": "string", "maxLength": 3, "x-secret": True}

# Each way in which one part of a schema applies another to the same place, or to the member or item `step`.
SAME_PLACE: list[Callable[[Json], Json]] = [
    lambda inner: {"allOf": [{}, inner]},
    lambda inner: {"anyOf": [inner, {"type": "null"}]},
    lambda inner: {"oneOf": [inner, {"type": "null"}]},
    lambda inner: {"if": {"type": "boolean"}, "else": inner},
    lambda inner: {"if": True, "then": inner},
    lambda inner: {"$ref": "#/$defs/here", "$defs": {"here": inner}},
    lambda inner: {"$ref": "#here", "$defs": {"x": {"$anchor": "here", "allOf": [inner]}}},
    lambda inner: {"$dynamicRef": "#here", "$defs": {"x": {"$dynamicAnchor": "here", "allOf": [inner]}}},
    lambda inner: {"$ref": "urn:x:here", "$defs": {"x": {"$id": "urn:x:here", "allOf": [inner]}}},
    lambda inner: {"$ref": "#/x-mine/deep", "x-mine": {"deep": inner}},
    lambda inner: {"dependentSchemas": {"step": inner}},
]
MEMBER: list[Callable[[Json], Json]] = [
    lambda inner: {"properties": {"step": inner}},
    lambda inner: {"properties": {"step": inner}, "required": ["other"], "additionalProperties": False},
    lambda inner: {"patternProperties": {"^st": inner}, "maxProperties": 0},
    lambda inner: {"additionalProperties": inner, "enum": [1]},
    lambda inner: {"unevaluatedProperties": inner, "type": "array"},
]
ITEM: list[Callable[[Json], Json]] = [
    lambda inner: {"items": inner},
    lambda inner: {"prefixItems": [inner], "maxItems": 0},
    lambda inner: {"contains": inner, "const": []},
    lambda inner: {"unevaluatedItems": inner, "not": {"type": "array"}},
]


@pytest.mark.parametrize("mark", ["writeOnly", "x-secret"])
@pytest.mark.parametrize("member", MEMBER)
@pytest.mark.parametrize("same_place", SAME_PLACE)
def test_a_secret_is_found_through_every_applicator(
    same_place: Callable[[Json], Json], member: Callable[[Json], Json], mark: str
) -> None:
    """However a mark is reached, its place is secret, what is in it too, and what holds it is known to."""
    schema = Schema(same_place(member({mark: True})))
    assert schema.is_secret("/step")
    assert schema.is_secret("/step/inside/0")
    assert not schema.is_secret("")
    assert schema.holds_secret("")


def test_what_is_not_marked_is_not_secret() -> None:
    """Only `true` marks; neighbours of a secret, and members that another keyword describes, are shown."""
    schema = Schema(
        {
            "properties": {"password": {"writeOnly": True}, "port": {"writeOnly": False}, "user": {"x-secret": "no"}},
            "patternProperties": {"^token_": {"x-secret": True}},
            "additionalProperties": {"properties": {"key": {"x-secret": True}}},
        }
    )
    places = ("/password", "/port", "/user", "/token_a", "/xtoken_a", "/other", "/other/key", "/port/key")
    assert [place for place in places if schema.is_secret(place)] == ["/password", "/token_a", "/other/key"]
    holders = ["/password", "/token_a", "/xtoken_a", "/other", "/other/key"]
    assert [place for place in places if schema.holds_secret(place)] == holders


def test_a_recursive_schema_has_secrets_at_every_depth() -> None:
    """References may go round."""
    schema = Schema({"properties": {"child": {"$ref": "#"}, "key": {"x-secret": True}}})
    assert schema.is_secret("/child/child/child/key")
    assert not schema.is_secret("/child/child/child")


def test_neighbours_of_a_secret_keep_their_values() -> None:
    """A violation beside a secret is as clear as any other."""
    schema = Schema({"properties": {"port": {"maximum": 9}, "password": SECRET}})
    (found,) = schema.violations({"port": 10, "password": "x"})
    assert (found.pointer, found.message, found.value) == ("/port", "must be at most 9", "10")


def test_a_violation_of_a_secret_says_the_rule_alone() -> None:
    """The pointer and the rule help; the value, and the values that would do, don't appear."""
    schema = Schema({"properties": {"password": {"x-secret": True, "enum": ["allowed-one"], "minLength": 9}}})
    shown = [(one.pointer, one.message, one.value) for one in schema.violations({"password": CANARY})]
    assert shown == [
        ("/password", "must be one of the values that the schema lists", ""),
        ("/password", "must have at least 9 character(s)", ""),
    ]


def test_the_names_inside_a_secret_are_secret() -> None:
    """A violation deep inside a secret is reported at the secret."""
    inner = {"additionalProperties": {"type": "integer"}, "propertyNames": {"maxLength": 1}}
    schema = Schema({"properties": {"tokens": {"x-secret": True, **inner, "properties": {"a": False}}}})
    found = schema.violations({"tokens": {CANARY: CANARY, "a": 1}})
    assert {one.pointer for one in found} == {"/tokens"}
    assert CANARY not in repr(found)


def test_an_object_that_may_hold_a_secret_is_not_shown() -> None:
    """A string where an object with a secret should be may be a URL with the password in it."""
    schema = Schema({"properties": {"db": {"type": "object", "properties": {"password": SECRET}}}})
    (found,) = schema.violations({"db": f"postgres://me:{CANARY}@host"})
    assert (found.pointer, found.message, found.value) == ("/db", "must be an object", "")


MARKED: list[Json] = [
    SECRET,
    {"writeOnly": True, "type": "integer"},
    {"x-secret": True, "not": {}},
    {"x-secret": True, "properties": {"a": {"type": "null"}}, "const": 1},
    {"x-secret": True, "additionalProperties": {"type": "null"}, "propertyNames": {"maxLength": 1}},
    {"x-secret": True, "properties": {"a": {"properties": {"b": True}, "additionalProperties": False}}},
]


@st.composite
def planted(draw: st.DrawFn) -> tuple[Json, Json]:
    """A schema that marks a place as secret, and a document with the canary there, both with errors around it."""
    schema: Json = draw(st.sampled_from(MARKED))
    value: Json = draw(st.sampled_from([CANARY, [CANARY], {"a": CANARY}, {CANARY: 1}, {"a": {CANARY: [CANARY]}}]))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([SAME_PLACE, MEMBER, ITEM]))
        # References name their place in the whole schema, so they stand at its top only.
        wrap = draw(st.sampled_from(kind[:5] if kind is SAME_PLACE else kind))
        schema = wrap(schema)
        if kind is MEMBER:
            value = {"step": value, **draw(st.sampled_from([{}, {"extra": 1}, {"stop": "x"}]))}
        elif kind is ITEM:
            value = [value]
    wrap = draw(st.sampled_from([lambda inner: inner, *SAME_PLACE[5:10]]))
    return wrap(schema), value


@given(planted())
def test_a_secret_occurs_in_no_violation(case: tuple[Json, Json]) -> None:
    """Whatever is wrong at, above, below or beside a secret: no violation has any of it."""
    schema, value = case
    assert CANARY not in repr(Schema(schema).violations(value))
