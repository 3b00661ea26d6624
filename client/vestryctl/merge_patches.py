"""The RFC 7396 merge patch that changes one value.

A merge patch can't reach into an array: an object that meets an array takes its place. So a change of an element becomes
a patch of the whole array, made from the document that is in force.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from vestry.paths import Keys, to_pointer
from vestryctl.failures import Failure

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def crosses_array(document: Any, keys: Keys) -> bool:
    """Tell whether a change at `keys` is one of an array's elements, and so of the array as it is in force."""
    return bool(_split_at_array(document, keys)[1])


def setting(document: Any, keys: Keys, value: Any) -> Any:
    """Return the patch that sets `value` at `keys`; in an array the last key may be `-`, which appends."""
    head, tail = _split_at_array(document, keys)
    if not tail:
        return _nested(keys, value)
    array = copy.deepcopy(_walk(document, head))
    _set_below(array, tail, value, pointer=to_pointer(head))
    return _nested(head, array)


def removing(document: Any, keys: Keys) -> Any:
    """Return the patch that takes what is at `keys` out of the layer."""
    head, tail = _split_at_array(document, keys)
    if tail:
        raise Failure(
            f"can't unset {to_pointer(keys)}: {to_pointer(head)} is an array, and its elements can't be unset one by one. "
            "Set the whole array instead"
        )
    return _nested(keys, None)


def _nested(keys: Keys, value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _split_at_array(document: Any, keys: Keys) -> tuple[Keys, Keys]:
    """Split `keys` behind the one that leads to the first array on the way; all of them when there is none."""
    for number, key in enumerate(keys):
        if isinstance(document, list):
            return keys[:number], keys[number:]
        document = document.get(key) if isinstance(document, dict) else None
    return keys, ()


def _walk(document: Any, keys: Keys) -> Any:
    for key in keys:
        document = document[key]
    return document


def _set_below(container: Any, keys: Keys, value: Any, *, pointer: str) -> None:
    """Set `value` in `container`; objects that are missing on the way, or are none, are made."""
    key, rest = keys[0], keys[1:]
    if isinstance(container, list):
        slot: Any = _slot(container, key, pointer)
    else:
        slot = key
        container.setdefault(key, {})
    if not rest:
        container[slot] = value
        return
    if not isinstance(container[slot], dict | list):
        container[slot] = {}
    _set_below(container[slot], rest, value, pointer=pointer + to_pointer((key,)))


def _slot(array: list[Any], key: str, pointer: str) -> int:
    """Return the index that `key` names; for `-` a new place at the end."""
    if key == "-":
        array.append(None)
        return len(array) - 1
    if _INDEX.fullmatch(key) and int(key) < len(array):
        return int(key)
    elements = f"its elements are 0 to {len(array) - 1}" if array else "it is empty"
    raise Failure(f"{pointer} is an array without an element {key!r}: {elements}, and '-' appends one")
