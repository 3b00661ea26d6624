"""The directory of a CA, and how files get into it: whole, on disk, and nothing half-done after a crash.

ca.pem  ca-key.pem  crl.pem           the CA: its certificate, its key, what it has revoked
issued/NAME-SERIAL/certificate.pem    everything that it has issued
issued/NAME-SERIAL/key.pem            the key that belongs to it, until it is replaced
NAME -> issued/NAME-SERIAL            what is in use under that name: a link, so that both files change at once
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vestryctl.failures import Failure
from vestryctl.private_files import sync_directory

CA: Final = "ca.pem"
CA_KEY: Final = "ca-key.pem"
CRL: Final = "crl.pem"
ISSUED: Final = "issued"
CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"

_PRIVATE: Final = (CA_KEY, KEY)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others of these programs out of a directory, after waiting for them. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def told(directory: Path, *, to: str) -> Iterator[None]:
    """Turn what the system says against a CA's directory into a Failure; `to` says what was to be done."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        raise Failure(f"can't {to} the CA in {directory}: {where}: {error.strerror}") from error


def put_directory(directory: Path, files: Mapping[str, bytes], *, inner: str = "") -> None:
    """Make a directory that holds these files, and an empty directory `inner`. It appears whole, or not at all.

    It and its keys are for their owner alone. Raises OSError: also when the directory exists and is not empty.
    """
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, content in files.items():
            _write(draft / name, content)
        if inner:
            (draft / inner).mkdir(mode=0o700)
        sync_directory(draft)
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_directory(directory.parent)


def put_file(path: Path, content: bytes) -> None:
    """Put a new file in the place of `path`. Raises OSError, and nothing has changed then."""
    draft = _draft_of(path)
    try:
        _write(draft, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def point(link: Path, target: str) -> None:
    """Let a link point to `target` from now on. Raises OSError, and nothing has changed then."""
    draft = _draft_of(link)
    try:
        draft.symlink_to(target)
        draft.replace(link)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(link.parent)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _write(path: Path, content: bytes) -> None:
    mode = 0o600 if path.name in _PRIVATE else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
