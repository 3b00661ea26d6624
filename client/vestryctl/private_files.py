"""Files that only their owner can read, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vestryctl.failures import Failure


@contextmanager
def replacing(file: Path, *, what: str, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Give a new file that takes `file`'s name when the block is done, safe on disk; on an error it is removed.

    `what` is what errors call it. Raises Failure when the disk is in the way.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise Failure(f"can't write {what} to {file.parent}: {error.strerror}") from error
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        sync_directory(file.parent)
    except OSError as error:
        raise Failure(f"can't write {what} {file}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def write_private(file: Path, content: bytes, *, what: str, mode: int = 0o600) -> None:
    """Put `content` in the place of `file`. Raises Failure."""
    with replacing(file, what=what, mode=mode) as stream:
        stream.write(content)


def private_directory(directory: Path) -> None:
    """Make a directory of mode 0700, or find one that is its owner's alone. Raises Failure."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        mode = directory.stat().st_mode
    except OSError as error:
        raise Failure(f"can't make the directory {directory}: {error.strerror}") from error
    if mode & 0o077:
        raise Failure(f"others can look into {directory}: close it (chmod 700) or name another")


def sync_directory(directory: Path) -> None:
    """Return once the names of the files in a directory are safe on disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
