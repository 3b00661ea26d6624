"""What a person reads when a value breaks a schema.

The library's own messages print the values that they are about, and a value may be a secret. So every message is built
here, from the schema's keyword and what the schema says there; of the document only the names of unknown members appear.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from vestryd.domain.faults import shown
from vestryd.domain.jsonvalue import Json

_MAX_EXCERPT = 200  # characters
_MAX_NAMES = 5  # of unknown members in a message

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_TYPES = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}
# a keyword -> what it asks for; the braces stand for what the schema says
_DEMANDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} character(s)",
    "maxLength": "must have at most {} character(s)",
    "minItems": "must have at least {} item(s)",
    "maxItems": "must have at most {} item(s)",
    "minProperties": "must have at least {} member(s)",
    "maxProperties": "must have at most {} member(s)",
    "pattern": "must match the pattern {}",
    "format": "must have the format {}",
    "uniqueItems": "must not have the same item twice",
    "contains": "has no item of the kind that 'contains' describes",
    "minContains": "has too few items of the kind that 'contains' describes",
    "maxContains": "has too many items of the kind that 'contains' describes",
    "additionalProperties": "must have no members",
    "unevaluatedItems": "has items that are not known here",
    "not": "is not allowed here",
}


def rule_of(error: ValidationError) -> str:
    """Return the JSON Schema keyword that is broken."""
    keyword = str(error.schema_path[-1]) if error.schema_path else ""
    match error.kind:
        case Kind.Required() | Kind.Contains():  # also dependentRequired, minContains and maxContains
            return keyword
        case Kind.FalseSchema():  # "equivalent to { "not": {} }" (JSON Schema 2020-12 Core, section 4.3.2)
            return keyword if keyword == "additionalProperties" else "not"
        case kind:
            return kind.name


def describe(error: ValidationError, *, known: Iterable[str] = (), in_secret: bool = False) -> str:
    """Return what is wrong. `known` are the names that an unknown member may have been meant to have.

    With `in_secret` the message has neither names from the document nor the values that the schema lists.
    """
    match error.kind:
        case Kind.AdditionalProperties(unexpected=names) | Kind.UnevaluatedProperties(unexpected=names):
            return "has members that are not known here" if in_secret else _unknown(names, sorted(known))
        case Kind.PropertyNames(error=inner):
            name = "a member's name" if in_secret else f"the name {shown(str(inner.instance))}"
            return f"{name} is not allowed: it {describe(inner, in_secret=in_secret)}"
        case Kind.Constant() | Kind.Enum() if in_secret:
            return "must be one of the values that the schema lists"
        case kind:
            return _value_problem(kind) or _DEMANDS.get(rule_of(error), "").format(kind.value) or _form_problem(kind)


def excerpt(value: Json) -> str:
    """Return the beginning of `value` as JSON, in time that doesn't grow with a large array's or object's size."""
    text = ""
    for chunk in _ENCODER.iterencode(value):
        text += chunk
        if len(text) >= _MAX_EXCERPT:
            return text[:_MAX_EXCERPT]
    return text


def _unknown(names: list[str], known: list[str]) -> str:
    parts = [f"{shown(name)} is not known here{_suggestion(name, known)}" for name in names[:_MAX_NAMES]]
    more = len(names) - _MAX_NAMES
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name[:_MAX_EXCERPT], known, n=1)
    return f": did you mean {shown(close[0])}?" if close else ""


def _value_problem(kind: Kind) -> str:
    match kind:
        case Kind.Required(property=name):
            return f"{shown(name)} is missing"
        case Kind.Type(types=types):
            return f"must be {' or '.join(_TYPES[name] for name in sorted(types))}"
        case Kind.Enum(options=options):
            return f"must be one of {', '.join(map(excerpt, options))}"[:_MAX_EXCERPT]
        case Kind.Constant(expected_value=value):
            return f"must be {excerpt(value)}"
        case _:
            return ""


def _form_problem(kind: Kind) -> str:
    match kind:
        case Kind.AnyOf(context=forms) | Kind.OneOfNotValid(context=forms):
            return f"fits none of the {len(forms)} forms that are allowed"
        case Kind.OneOfMultipleValid():
            return "fits several of the forms of which it must fit exactly one"
        case _:
            return f"breaks the rule {kind.name}"
