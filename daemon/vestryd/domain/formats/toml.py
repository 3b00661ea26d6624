"""TOML 1.0, read with the standard library. Dates and times become their ISO 8601 strings: JSON has none."""

from __future__ import annotations

import datetime as dt
import math
import re
import tomllib

from vestryd.domain.errors import SourceInvalid
from vestryd.domain.faults import Place, duplicate, fault, place, too_deep, too_large
from vestryd.domain.jsonvalue import MAX_DEPTH, MAX_INTEGER_BITS, Json, measure
from vestryd.domain.pointer import escape

_PLACE = re.compile(r"(?P<problem>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
# Keys of more than MAX_DEPTH parts: tomllib takes time and memory that grow with the square of the parts, so that a
# megabyte of them would take hours. The other alternatives skip strings (also unterminated ones), words and comments.
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\Z)|'
    r"'''(?:[^']|'(?!''))*+(?:'''|\Z)|"
    rf"(?P<long_key>{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH},}}+)|"
    r'"(?:[^"\\\n]|\\.)*+"?|'
    r"'[^'\n]*+'?|[A-Za-z0-9_-]++|#[^\n]*+",
    re.DOTALL,
)
_MAX_VALUE_LINES = 50  # how far to look back for a key that is given twice


def parse_toml(text: str) -> Json:
    """Return the document in `text`, or raise SourceInvalid."""
    for token in _TOKEN.finditer(text):
        if token["long_key"]:
            raise too_deep(place(text, token.start()))
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_fault(text, str(error)) from None
    except ValueError:
        raise too_large() from None
    except RecursionError:
        raise too_deep() from None
    depth, _ = measure(table)
    if depth > MAX_DEPTH:
        raise too_deep()
    return _plain(table, "")


def _plain(value: Json, at: str) -> Json:
    """Return `value` with strings for dates and times; `at` is its pointer."""
    if isinstance(value, dict):
        return {key: _plain(member, f"{at}/{escape(key)}") for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{at}/{index}") for index, item in enumerate(value)]
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise fault("syntax", "a number is inf, nan or too large: JSON has no such number", pointer=at)
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise too_large(pointer=at)
    return value


def _syntax_fault(text: str, message: str) -> SourceInvalid:
    found = _PLACE.fullmatch(message)
    if found is None:
        return fault("syntax", f"this is not TOML: {message}")
    at = (int(found["line"]), int(found["column"])) if found["line"] else place(text, len(text.rstrip("\n")))
    if found["problem"] == "Cannot overwrite a value":
        return _overwritten(text, at)
    return fault("syntax", f"this is not TOML: {found['problem']}", at)


def _overwritten(text: str, end: Place) -> SourceInvalid:
    """Return the fault for a key that is given twice, of which tomllib tells only where its second value ends.

    The statement is the shortest run of lines up to there that is TOML by itself.
    """
    lines = text.split("\n")[: end[0]]
    for first in reversed(range(max(0, len(lines) - _MAX_VALUE_LINES), len(lines))):
        if _is_toml("\n".join(lines[first:])):
            return duplicate(lines[first].partition("=")[0].strip(" \t[]"), (first + 1, 1))
    return fault("syntax", "a key is given twice", end)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True
