"""Disk space that is kept back for the audit log's last records."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vestryd.stores.files import PRIVATE


class Reserve:
    """A file of `size` bytes that holds nothing. Given up when the disk is full, and taken again before the log goes on."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self.is_held = False

    def take(self) -> None:
        """Take the space, unless it is held. Raises OSError, and takes none, when there is not enough."""
        if self.is_held or not self._size:
            self.is_held = True
            return
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)
        self.is_held = True

    def give(self) -> None:
        """Give the space up."""
        self.is_held = False
        with suppress(OSError):  # nothing can be done about it, and the write that follows tells
            self._path.unlink(missing_ok=True)
