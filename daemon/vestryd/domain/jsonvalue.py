"""JSON values: how a document looks in memory, and its one form in bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# A JSON value: None, bool, int, float (finite), str (no lone surrogates), list of JSON values, or dict from str to them.
# Python can't spell that out without a cast at every step, hence Any.
Json = Any

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_DEPTH = 64  # objects and arrays inside one another; a number has depth 0, `[]` has 1
MAX_INTEGER_BITS = 14_284  # Python writes no more than 4300 decimal digits

_TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def canonical(value: Json) -> bytes:
    """Return the canonical form of `value`: UTF-8, keys sorted by code point, no white space.

    Two values are the same document exactly when their canonical forms are equal: 1, 1.0 and true are three documents.
    Raises ValueError for what JSON or UTF-8 can't say: NaN, infinities, lone surrogates.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def checksum(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def measure(value: Json) -> tuple[int, int]:
    """Return how deep `value` nests, as MAX_DEPTH counts it, and how many values it holds, itself included."""
    depth = size = 0
    level = [value]
    while level:
        size += len(level)
        containers = [item for item in level if isinstance(item, dict | list)]
        depth += bool(containers)
        level = [member for item in containers for member in (item.values() if isinstance(item, dict) else item)]
    return depth, size


def type_name(value: Json) -> str:
    """Return what kind of value this is, for a sentence: "an object", "a string", …."""
    return _TYPE_NAMES[type(value)]
