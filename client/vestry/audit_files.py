"""The audit log's files, as the daemon leaves them in a directory and as `vestryctl audit export` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vestry.audit_record import KEY_BYTES
from vestry.audit_verify import CHECKPOINTS_FILE, Segment

PUBLIC_KEY_FILE: Final = "signing.pub"

_SEGMENT = re.compile(r"audit-([0-9]{12,18})\.jsonl")


def open_log(directory: Path) -> tuple[Sequence[bytes], Iterator[Segment]]:
    """Return the checkpoints' lines, and the segments, each to be opened when its turn comes.

    In this order a log that is in use can be verified. Raises OSError.
    """
    with (directory / CHECKPOINTS_FILE).open("rb") as file:
        checkpoints = file.readlines()
    return checkpoints, _segments(directory)


def segment_name(first: int) -> str:
    """Return the name of the segment that begins with record `first`."""
    return f"audit-{first:012}.jsonl"


def segment_firsts(directory: Path) -> list[int]:
    """Return the sequence that each segment in the directory begins with, in order. Raises OSError."""
    matches = (_SEGMENT.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def load_verification_key(text: bytes) -> bytes:
    """Return the key that the text of a file verification.key holds. Raises ValueError."""
    key = bytes.fromhex(text.decode("ascii").strip())
    if len(key) != KEY_BYTES:
        raise ValueError(f"a verification key has {KEY_BYTES} bytes, this has {len(key)}")
    return key


def _segments(directory: Path) -> Iterator[Segment]:
    for first in segment_firsts(directory):
        name = segment_name(first)
        with (directory / name).open("rb") as file:
            yield Segment(name, file)
