"""JSON documents that can't be changed.

A frozen document is made of plain `dict` and `list` subclasses, so json.dumps, isinstance and pattern matching take it
as it is. `copy.deepcopy`, and pickling, give plain dicts and lists that can be changed.
"""

from __future__ import annotations

from typing import Any, NoReturn, Self


def freeze(value: Any) -> Any:
    """Return a copy of a JSON value in which no dict and no list can be changed."""
    if isinstance(value, dict):
        return FrozenDict((key, freeze(member)) for key, member in value.items())
    if isinstance(value, list | tuple):
        return FrozenList(map(freeze, value))
    return value


def thaw(value: Any) -> Any:
    """Return a copy of a JSON value made of plain dicts and lists."""
    if isinstance(value, dict):
        return {key: thaw(member) for key, member in value.items()}
    if isinstance(value, list):
        return [thaw(member) for member in value]
    return value


def is_same(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal as JSON: Python's `True == 1` and `1 == 1.0` are not."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(member, right[key]) for key, member in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right)


def _refuse(*_args: Any, **_options: Any) -> NoReturn:
    raise TypeError(
        "a configuration document can't be changed here: change a copy.deepcopy of it, or call view.update()"
    )


class FrozenDict(dict[str, Any]):
    """A JSON object that can't be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return dict(thaw(self))

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (thaw(self),)


class FrozenList(list[Any]):
    """A JSON array that can't be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> list[Any]:
        return list(thaw(self))

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (thaw(self),)
