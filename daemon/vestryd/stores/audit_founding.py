"""The audit log's directory and keys: founded once, whole or not at all, and found again at each start."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vestry.audit_checkpoint import Checkpoint, encode_checkpoint, key_id, sign
from vestry.audit_files import PUBLIC_KEY_FILE, segment_name
from vestry.audit_record import KEY_BYTES, canonical, chain_start
from vestry.audit_verify import CHECKPOINTS_FILE
from vestryd.domain.errors import AuditUnusable
from vestryd.stores.files import PRIVATE, beside, sync_directory

SIGNING_KEY_FILE = "signing.key"
MAC_KEY_FILE = "mac.key"
VERIFICATION_KEY_FILE = "verification.key"

EVIDENCE = (
    "Keep the directory as evidence and verify it (vestryctl audit verify DIRECTORY); moved away, a new log begins"
)


class Step(StrEnum):
    """The steps in which a log is made durable, each named when it is about to be taken."""

    FOUNDING_WRITE = "founding.write"
    FOUNDING_RENAME = "founding.rename"
    RECORDS_WRITE = "records.write"
    RECORDS_SYNC = "records.sync"
    RECORDS_ANSWER = "records.answer"
    KEY_WRITE = "key.write"
    KEY_REPLACE = "key.replace"
    CHECKPOINT_WRITE = "checkpoint.write"
    CHECKPOINT_SYNC = "checkpoint.sync"
    SEGMENT_CREATE = "segment.create"
    SEGMENT_SYNC = "segment.sync"


Reached = Callable[[Step], None]
"""Is told of each step; a test fails it, or ends the process, there."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs a log's checkpoints."""

    store_id: str
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> bytes:
        """The key to verify with, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    def checkpoint(self, number: int, size: int, hash_: str, time: datetime) -> Checkpoint:
        """Return a signed checkpoint."""
        unsigned = Checkpoint(number, self.store_id, size, hash_, time, key_id(self.public_key))
        return replace(unsigned, signature=sign(unsigned, self.key))


@dataclass(frozen=True, slots=True)
class MacKey:
    """The key of record `sequence`, which is the oldest that can still be written with what is on the disk."""

    sequence: int
    key: bytes


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn what the file system says against the log into AuditUnusable."""
    try:
        yield
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise AuditUnusable(str(directory), f"{error.strerror or error}{where}", "See to the disk") from error


def lock(directory: Path) -> int:
    """Keep other processes off the log, until the descriptor that this returns is closed. Raises AuditUnusable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AuditUnusable(str(directory), "another process is using it", "Stop that process first") from None
    return descriptor


def found(directory: Path, store_id: str, *, now: datetime, reached: Reached) -> None:
    """Make a new log at `directory`: it is made under another name and renamed."""
    unborn = beside(directory, ".new")
    shutil.rmtree(unborn, ignore_errors=True)
    unborn.mkdir(mode=0o700)
    signer = Signer(store_id, Ed25519PrivateKey.generate())
    key = secrets.token_bytes(KEY_BYTES)
    reached(Step.FOUNDING_WRITE)
    _write(unborn / SIGNING_KEY_FILE, signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public_pem = signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(unborn / PUBLIC_KEY_FILE, public_pem)
    _write(unborn / VERIFICATION_KEY_FILE, key.hex().encode() + b"\n")
    _write(unborn / MAC_KEY_FILE, encode_mac_key(MacKey(1, key)))
    _write(unborn / CHECKPOINTS_FILE, encode_checkpoint(signer.checkpoint(1, 0, chain_start(store_id), now)))
    _write(unborn / segment_name(1), b"")
    sync_directory(unborn)
    reached(Step.FOUNDING_RENAME)
    unborn.rename(directory)
    sync_directory(directory.parent)


def load_signer(directory: Path, store_id: str) -> Signer:
    """Return the log's signer. Raises AuditUnusable."""
    try:
        key = load_pem_private_key((directory / SIGNING_KEY_FILE).read_bytes(), password=None)
    except ValueError:
        raise _damaged(directory, SIGNING_KEY_FILE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(directory, SIGNING_KEY_FILE)
    return Signer(store_id, key)


def load_mac_key(directory: Path) -> MacKey:
    """Return the key that the next records are to be made with. Raises AuditUnusable."""
    try:
        members = json.loads((directory / MAC_KEY_FILE).read_bytes())
        loaded = MacKey(int(members["sequence"]), bytes.fromhex(members["key"]))
    except (ValueError, TypeError, KeyError):
        raise _damaged(directory, MAC_KEY_FILE) from None
    if loaded.sequence < 1 or len(loaded.key) != KEY_BYTES:
        raise _damaged(directory, MAC_KEY_FILE)
    return loaded


def replace_mac_key(directory: Path, key: MacKey, reached: Reached) -> None:
    """Put `key` in the place of the one on the disk. A crash leaves one of them, whole."""
    fresh = directory / f"{MAC_KEY_FILE}.new"
    reached(Step.KEY_WRITE)
    fresh.unlink(missing_ok=True)
    _write(fresh, encode_mac_key(key))
    reached(Step.KEY_REPLACE)
    fresh.rename(directory / MAC_KEY_FILE)


def encode_mac_key(key: MacKey) -> bytes:
    """Return the content of mac.key."""
    return canonical({"key": key.key.hex(), "sequence": key.sequence}) + b"\n"


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _damaged(directory: Path, name: str) -> AuditUnusable:
    return AuditUnusable(str(directory), f"its file {name} is damaged", EVIDENCE)
