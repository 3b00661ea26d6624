"""Spans of time as configuration writes them."""

from __future__ import annotations

import re
from datetime import timedelta

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # unit -> its length


def parse_duration(text: str) -> timedelta:
    """Read numbers with units one after the other, as in `250ms`, `1.5s` and `1h30m`; units are us, ms, s, m, h and d.

    Raises ValueError for anything else, and OverflowError beyond what a timedelta holds.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration: write it like 250ms, 1.5s or 1h30m")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))
