"""What is wrong with a text, before it is a document: the parsers' one way to say it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.jsonvalue import MAX_DEPTH

_MAX_SHOWN = 80  # characters of a key in a message

Rule = Literal["syntax", "encoding", "size", "depth"]
Place = tuple[int, int]  # line and column, from 1

UNKNOWN: Place = (0, 0)


def fault(rule: Rule, message: str, at: Place = UNKNOWN, *, pointer: str = "") -> SourceInvalid:
    """Return the error that says so, without a file's name: `formats.parse` knows that."""
    return SourceInvalid((Violation(pointer, rule, message, line=at[0], column=at[1]),))


def too_deep(at: Place = UNKNOWN) -> SourceInvalid:
    """Return the error for objects and arrays that nest deeper than MAX_DEPTH."""
    return fault("depth", f"objects and arrays nest deeper than {MAX_DEPTH} levels", at)


def too_large(*, pointer: str = "") -> SourceInvalid:
    """Return the error for a number with an exponent that no float has, or with thousands of digits."""
    return fault("syntax", "a number is too large", pointer=pointer)


def duplicate(key: str, at: Place = UNKNOWN) -> SourceInvalid:
    """Return the error for a key that stands twice in its object."""
    return fault("syntax", f"the key {shown(key)} is given twice", at)


def located(error: SourceInvalid, at: Place) -> SourceInvalid:
    """Return `error` with the place that its finder didn't know."""
    return SourceInvalid(tuple(replace(violation, line=at[0], column=at[1]) for violation in error.violations))


def shown(text: str) -> str:
    """Return `text` quoted for a message, and cut when it is long."""
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")


def place(text: str, offset: int) -> Place:
    """Return where the character at `offset` stands."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
