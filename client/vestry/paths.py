"""Where in a document: dotted paths and JSON Pointers.

A path is dotted, `providers.openai.timeout_seconds`; a key that holds a dot or begins with a quote or a slash is
quoted as in TOML, `routes."api.example.com".timeout` (with JSON's escapes between double quotes, none between single
ones). A path that begins with a slash is an RFC 6901 JSON Pointer instead, `/routes/api.example.com/timeout`. An
element of an array is named by its index, from 0. The empty path is the whole document.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vestry.errors import InvalidPath

Keys = tuple[str, ...]

_SEGMENT = re.compile(r"""(?P<basic>"(?:[^"\\]|\\.)*")|'(?P<literal>[^']*)'|(?P<bare>[^."'][^.]*)""")
_INDEX = re.compile(r"0|[1-9][0-9]*")
_BAD_ESCAPE = re.compile(r"~(?![01])")


def parse(path: str) -> Keys:
    """Return the keys that `path` leads through. Raises InvalidPath."""
    if not path or path.startswith("/"):
        return parse_pointer(path)
    keys = []
    position = 0
    while True:
        segment = _SEGMENT.match(path, position)
        if segment is None:
            raise InvalidPath(path, f"a key is missing, or its quotes are not closed, at character {position + 1}")
        keys.append(_key(path, segment))
        position = segment.end()
        if position == len(path):
            return tuple(keys)
        if path[position] != ".":
            raise InvalidPath(path, f"a dot must follow the quoted key at character {position + 1}")
        position += 1


def parse_pointer(pointer: str) -> Keys:
    """Return the keys that an RFC 6901 JSON Pointer leads through. Raises InvalidPath."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise InvalidPath(pointer, "a JSON Pointer is empty or begins with a slash")
    if _BAD_ESCAPE.search(pointer):
        raise InvalidPath(pointer, "in a JSON Pointer ~ is written ~0, and / in a key ~1")
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer[1:].split("/"))


def to_pointer(keys: Keys) -> str:
    """Return the RFC 6901 JSON Pointer that leads through `keys`."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


def resolve(document: Any, keys: Keys) -> Any:
    """Return what stands in `document` at `keys`. Raises KeyError when nothing does."""
    value = document
    for key in keys:
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise KeyError(key)
    return value


def _key(path: str, segment: re.Match[str]) -> str:
    if segment["basic"] is None:
        return segment["bare"] if segment["bare"] is not None else segment["literal"]
    try:
        return str(json.loads(segment["basic"]))
    except ValueError:
        raise InvalidPath(path, f"the quoted key {segment['basic']} has an escape that JSON doesn't know") from None
