"""JSON Pointer (RFC 6901): how a place in a document is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import Json

_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")  # longer ones lead nowhere, and int() is slow on them


def split(pointer: str) -> tuple[str, ...]:
    """Return the unescaped parts of `pointer`; none for the whole document.

    Raises InvalidField unless it is empty or begins with "/", and has "~" only in "~0" and "~1".
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise InvalidField("pointer", f"{pointer!r} must be empty or begin with '/', such as /server/port")
    if _BAD_ESCAPE.search(pointer):
        raise InvalidField("pointer", f"{pointer!r} has a '~' that is not part of '~0' (for ~) or '~1' (for /)")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def join(parts: Iterable[str | int]) -> str:
    """Return the pointer whose unescaped parts are `parts`."""
    return "".join(f"/{escape(str(part))}" for part in parts)


def escape(part: str) -> str:
    """Return `part` as it stands between the slashes of a pointer."""
    return part.replace("~", "~0").replace("/", "~1")


def resolve(document: Json, pointer: str) -> Json:
    """Return what `pointer` leads to in `document`.

    Raises LookupError when it leads nowhere, which includes an index with a leading zero and "-"; InvalidField when it
    is malformed.
    """
    value = document
    for part in split(pointer):
        value = _member(value, part)
    return value


def _member(value: Json, part: str) -> Json:
    if isinstance(value, dict):
        return value[part]
    if isinstance(value, list) and _INDEX.fullmatch(part):
        return value[int(part)]
    raise LookupError(part)


def leaves(value: Json, prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Yield the pointer (after `prefix`) and the value of each leaf: of anything but an object with members."""
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for key, member in value.items():
        yield from leaves(member, f"{prefix}/{escape(key)}")
