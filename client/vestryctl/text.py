"""Facts in the words that people read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

NOTHING = "-"

# Control characters could drive the reader's terminal, and those that turn the direction of writing could hide a text's
# meaning (CVE-2021-42574); documents, authors and messages are written by others.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))  # seconds -> the unit's name


def printable(text: str) -> str:
    """Return `text` with what a terminal would act on spelled as JSON escapes; tabs and line breaks stay."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def decoded(value: bytes) -> str | None:
    """Return the UTF-8 text that `value` is; None, and no error that would hold it, when it is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def in_one_line(text: str) -> str:
    """Return `text` with its white space, line breaks included, as single spaces."""
    return " ".join(text.split())


def local_time(time: Timestamp) -> str:
    """Return the time in this machine's time zone, to the second; `-` when it is not set."""
    if not time.ByteSize():
        return NOTHING
    return time.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def since(time: Timestamp) -> str:
    """Return how long ago `time` was, in its two largest units."""
    if not time.ByteSize():
        return NOTHING
    return span((datetime.now(UTC) - time.ToDatetime(tzinfo=UTC)).total_seconds())


def span(seconds: float) -> str:
    """Return a span of time in its two largest units, e.g. `3 d 4 h`; less than a minute in seconds."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for length, name in _UNITS:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    power = max(0, count.bit_length() - 1) // 10
    return f"{count} B" if power == 0 else f"{count / 1024**power:.1f} {'KMGTPE'[power - 1]}iB"


def yes_or_no(fact: bool) -> str:  # noqa: FBT001 - the fact is all that there is
    """Return `yes` or `no`."""
    return "yes" if fact else "no"
