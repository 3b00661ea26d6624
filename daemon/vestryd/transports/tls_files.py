"""The PEM files that TLS is made of: how they are read, refused, and read again when they change."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from cryptography import x509

from vestryd.domain.errors import VestryError

T = TypeVar("T")

Stamp = tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class TlsUnusable(VestryError):
    """The daemon can't serve TLS with one of its files; `problem` is what is wrong with it and what to do."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"can't serve TLS with {self.path}: {self.problem}"


class Followed(Generic[T]):
    """What some files hold, as of when they were last in order. For any thread; lives as long as the server.

    `load` raises TlsUnusable for files that are broken or half-written; then the last good value stays, and `problem`
    says why. The first load must succeed.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        """Raises TlsUnusable."""
        self.problem = ""
        self._paths = paths
        self._load = load
        self._lock = Lock()
        self._stamp = _stamp(paths)
        self._value = load()

    def current(self) -> T:
        """Return the value, after another look at the files: a stat of each, and a load if one has changed."""
        with self._lock:
            stamp = _stamp(self._paths)  # before the load: what changes during it is seen the next time
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._value = self._load()
                    self.problem = ""
                except TlsUnusable as error:
                    self.problem = f"{error}; what was read before stays in use"
            return self._value


def read(path: Path) -> bytes:
    """Return what a file holds. Raises TlsUnusable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(str(path), f"it can't be read: {error.strerror}") from error


def read_private(path: Path) -> bytes:
    """Return what a file holds that nobody but its owner may read. Raises TlsUnusable."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        raise TlsUnusable(str(path), f"it can't be read: {error.strerror}") from error
    if mode & _others(path):
        raise TlsUnusable(str(path), f"others can read it (mode {mode:04o}): chmod 600 it, and think of a new key")
    return content


def certificates_of(content: bytes, path: Path) -> list[x509.Certificate]:
    """Return the certificates that the content of a file holds, one at least. Raises TlsUnusable."""
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsUnusable(str(path), "it doesn't hold certificates in PEM") from error
    if len(found) < content.count(b"-----BEGIN CERTIFICATE-----"):  # cryptography ignores what is cut off
        raise TlsUnusable(str(path), "it doesn't hold all of its last certificate in PEM: write it anew")
    return found


def _others(path: Path) -> int:
    """Return the bits of a mode by which others than its owner get at a file.

    systemd lets the service's user read a credential through an ACL, whose mask then stands in the group's bits.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return 0o037 if credentials and path.parent == Path(credentials) else 0o077


def _stamp(paths: Sequence[Path]) -> Stamp:
    """Return what differs once one of the files was written or replaced; a missing file has a stamp as well."""
    return tuple(_stamp_of(path) for path in paths)


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
