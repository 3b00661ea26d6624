"""JSON (RFC 8259), read strictly."""

from __future__ import annotations

import json
import math
import re

from vestryd.domain.errors import SourceInvalid
from vestryd.domain.faults import duplicate, fault, located, place, too_deep, too_large
from vestryd.domain.jsonvalue import MAX_DEPTH, Json, measure

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# A string, with the colon after it when it is a key; a bracket; a constant that only Python knows; a number.
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+")(?P<colon>\s*+:)?|[\[\]{}]|(?P<constant>-?Infinity|NaN)|(?P<number>-?\d[\d.eE+-]*+)',
    re.DOTALL,
)


def parse_json(text: str) -> Json:
    """Return the document in `text`, or raise SourceInvalid.

    The standard library's parser does the work, and its hooks only notice that something is wrong; a second, slower
    reading then tells what, and where.
    """
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        raise fault("syntax", f"this is not JSON: {error.msg}", (error.lineno, error.colno)) from None
    except (ValueError, RecursionError) as error:
        raise _first_fault(text) or fault("syntax", f"this is not JSON: {error}") from None
    depth, _ = measure(value)
    if (depth > MAX_DEPTH or _SURROGATE_ESCAPE.search(text)) and (found := _first_fault(text)):
        raise found
    return value


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return members


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value


def _first_fault(text: str) -> SourceInvalid | None:
    """Find the first thing in `text` that Python's parser takes and we don't; `text` is JSON to Python up to there.

    No message has a value in it: that may be a secret.
    """
    keys_of_open: list[set[str]] = []  # for each open object or array its keys so far
    for token in _TOKEN.finditer(text):
        found: SourceInvalid | None = None
        match token[0][0]:
            case "{" | "[":
                keys_of_open.append(set())
                found = too_deep() if len(keys_of_open) > MAX_DEPTH else None
            case "}" | "]":
                keys_of_open.pop()
            case '"':
                found = _string_fault(token, keys_of_open)
            case _:
                found = _number_fault(token)
        if found:
            return located(found, place(text, token.start()))
    return None


def _string_fault(token: re.Match[str], keys_of_open: list[set[str]]) -> SourceInvalid | None:
    string = json.loads(token["string"])
    if not string.isascii() and _LONE_SURROGATE.search(string):
        return fault("encoding", "a string has half of a surrogate pair, which UTF-8 can't hold")
    if token["colon"]:
        if string in keys_of_open[-1]:
            return duplicate(string)
        keys_of_open[-1].add(string)
    return None


def _number_fault(token: re.Match[str]) -> SourceInvalid | None:
    if token["constant"]:
        return fault("syntax", f"{token['constant']} is not a JSON value")
    try:
        json.loads(token["number"], parse_float=_finite)
    except ValueError:
        return too_large()
    return None
