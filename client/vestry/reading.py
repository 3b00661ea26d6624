"""Reading values out of a document, typed or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, Final, TypeVar

from vestry import paths
from vestry.durations import parse_duration
from vestry.errors import MissingKey, WrongType

T = TypeVar("T")


class Required(Enum):
    """Stands where no default was given."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED


class Reads(ABC):
    """The reads that a view and a snapshot share.

    A path is dotted, `providers.openai.timeout_seconds`, or a JSON Pointer when it begins with a slash; vestry.paths
    tells how to quote. A getter returns its default when nothing stands at the path, and raises MissingKey when it has
    none; a value of another type raises WrongType in either case; a path that can't be read raises InvalidPath. Dicts
    and lists are frozen: change a copy.deepcopy.
    """

    __iter__: ClassVar[None] = None  # or Python would iterate by asking for the "paths" 0, 1, 2, …

    @abstractmethod
    def __getitem__(self, path: str) -> Any:
        """Return the value at `path`."""

    def __contains__(self, path: str) -> bool:
        return self.get(path, REQUIRED) is not REQUIRED

    def at(self, pointer: str) -> Any:
        """Return the value at an RFC 6901 JSON Pointer; the empty pointer is the whole document."""
        paths.parse_pointer(pointer)
        return self[pointer]

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at `path`, or `default` when there is none."""
        try:
            return self[path]
        except MissingKey:
            return default

    def get_str(self, path: str, default: str | Required = REQUIRED) -> str:
        """Return the string at `path`."""
        return self._typed(path, default, "a string", _as_str)

    def get_int(self, path: str, default: int | Required = REQUIRED) -> int:
        """Return the integer at `path`; as in JSON Schema, 1.0 is one and true is none."""
        return self._typed(path, default, "an integer", _as_int)

    def get_float(self, path: str, default: float | Required = REQUIRED) -> float:
        """Return the number at `path` as a float."""
        return self._typed(path, default, "a number", _as_float)

    def get_bool(self, path: str, default: bool | Required = REQUIRED) -> bool:  # noqa: FBT001 - a default is no flag
        """Return the boolean at `path`."""
        return self._typed(path, default, "a boolean", _as_bool)

    def get_duration(self, path: str, default: timedelta | Required = REQUIRED) -> timedelta:
        """Return the span at `path`: a number of seconds, or a string such as `250ms` or `1h30m`."""
        return self._typed(path, default, "a duration (seconds, or a string like 1h30m)", _as_duration)

    def get_list(self, path: str, default: list[Any] | Required = REQUIRED) -> list[Any]:
        """Return the array at `path`, frozen."""
        return self._typed(path, default, "an array", _as_list)

    def get_dict(self, path: str, default: dict[str, Any] | Required = REQUIRED) -> dict[str, Any]:
        """Return the object at `path`, frozen."""
        return self._typed(path, default, "an object", _as_dict)

    def _typed(self, path: str, default: T | Required, expected: str, convert: Callable[[Any], T | None]) -> T:
        try:
            value = self[path]
        except MissingKey:
            if isinstance(default, Required):
                raise
            return default
        converted = convert(value)
        if converted is None:
            raise WrongType(path, expected=expected, found=_type_name(value))
        return converted


def _as_str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _as_int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _as_duration(value: Any) -> timedelta | None:
    try:
        if isinstance(value, str):
            return parse_duration(value)
        seconds = _as_float(value)
        return timedelta(seconds=seconds) if seconds is not None and seconds >= 0 else None
    except (ValueError, OverflowError):
        return None


def _as_list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _as_dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _type_name(value: Any) -> str:
    """Name a JSON value's type as JSON does."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"
