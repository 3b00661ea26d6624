"""The lock that keeps a second process off a store's file."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from vestryd.domain.errors import StoreUnusable
from vestryd.stores.files import PRIVATE, beside


class StoreLock:
    """The right to use a store's file, held by one process until `release` or until that process ends.

    It is a flock(2) on `<path>.lock`, a file that holds its holder's process id and is never removed: removing it would
    let two processes lock two files of that name.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> StoreLock:
        """Lock the store at `path`. Raises StoreUnusable, naming the holder, when it is locked; OSError otherwise."""
        lock_path = beside(path, ".lock")
        descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):  # on a full disk the store can still be read; the name is a courtesy
                os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StoreUnusable(
                str(path),
                f"process {holder or '(unknown)'} is using it",
                "Stop that process first, or choose another state directory",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next process in."""
        os.close(self._descriptor)
