"""RFC 6902 JSON Patch: what the daemon tells about a change, applied to a document that is at hand."""

from __future__ import annotations

import copy
from typing import Any

from vestry.paths import Keys, parse_pointer, resolve
from vestryctl.failures import Failure


class PatchFailed(Failure):
    """A patch doesn't fit the document, so they are of different versions: the change itself was not hindered."""


def apply_patch(document: Any, patch: list[dict[str, Any]]) -> Any:
    """Return `document` with the operations of `patch` done in order; `document` itself stays as it is.

    A `test` is taken for granted: the daemon made the patch from this very document.
    """
    document = copy.deepcopy(document)
    try:
        for operation in patch:
            document = _apply(document, operation)
    except (LookupError, TypeError) as error:
        problem = (
            "can't show the change, which doesn't fit the document: see 'vestryctl config history' for what is in force"
        )
        raise PatchFailed(problem) from error
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    path = parse_pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _put(document, path, operation["value"], insert=True)
        case "replace":
            return _put(document, path, operation["value"], insert=False)
        case "remove":
            return _remove(document, path)
        case "copy":
            value = copy.deepcopy(resolve(document, parse_pointer(operation["from"])))
            return _put(document, path, value, insert=True)
        case "move":
            source = parse_pointer(operation["from"])
            value = resolve(document, source)
            return _put(_remove(document, source), path, value, insert=True)
        case "test":
            return document
        case unknown:
            raise LookupError(f"there is no operation {unknown!r}")


def _put(document: Any, path: Keys, value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, key = resolve(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[key] = value
    elif insert and key in {"-", str(len(parent))}:
        parent.append(value)
    elif insert:
        parent.insert(_index(parent, key), value)
    else:
        parent[_index(parent, key)] = value
    return document


def _remove(document: Any, path: Keys) -> Any:
    if not path:
        return None
    parent, key = resolve(document, path[:-1]), path[-1]
    del parent[_index(parent, key) if isinstance(parent, list) else key]
    return document


def _index(array: list[Any], key: str) -> int:
    resolve(array, (key,))
    return int(key)
