"""Files that must be private, and must still be there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600


def create_private(path: Path) -> None:
    """Create an empty file with mode 0600 at `path`, in place of any that is there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def give_to_owner_of(model: Path, path: Path) -> None:
    """Let root, who works for a service's user, leave `path` to that user: the owner of `model`."""
    if os.geteuid() == 0:
        owner = model.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    _sync(path, os.O_RDWR)


def sync_directory(path: Path) -> None:
    """Wait until the directory's entries, so the renames within it, are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def size_of(path: Path) -> int:
    """Return the file's size in bytes, 0 when there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def beside(path: Path, suffix: str) -> Path:
    """Return the path of the sibling whose name is that of `path` with `suffix` at its end."""
    return path.with_name(path.name + suffix)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
