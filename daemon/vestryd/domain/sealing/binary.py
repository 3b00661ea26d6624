"""How texts and times are put into bytes, in the formats of docs/secrets-format.md. All numbers are big-endian."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fields(*parts: str | bytes) -> bytes:
    """Return the parts, each after its length as u32: other parts never give the same bytes. A text stands in UTF-8."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(struct.pack(">I", len(part)) + part for part in encoded)


def to_microseconds(time: datetime) -> int:
    """Return a time as whole microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> datetime:
    """Return the time that `to_microseconds` wrote, in UTC. Raises ValueError when there is no such time."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ValueError("this is not a time") from None
