"""Files that people name, and standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from vestryctl.failures import Failure

STANDARD_INPUT = "-"


def source_name(file: str) -> str:
    """Return what errors call `file`."""
    return "standard input" if file == STANDARD_INPUT else file


def read_at_most(file: str, *, limit: int) -> bytes | None:
    """Return what is in `file`, or on standard input when that is `-`; None when it is over `limit` bytes.

    Raises Failure when it can't be read.
    """
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(limit + 1)
    except OSError as error:
        raise Failure(f"can't read {source_name(file)}: {error.strerror}") from error
    return content if len(content) <= limit else None


def read_bytes(file: str, *, limit: int) -> bytes:
    """Return what is in `file`, or on standard input. Raises Failure, also when it is over `limit` bytes."""
    content = read_at_most(file, limit=limit)
    if content is None:
        raise Failure(f"{source_name(file)} has more than {limit} bytes")
    return content
