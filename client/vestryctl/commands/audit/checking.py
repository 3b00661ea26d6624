"""How a log is checked: in a directory, or the daemon's against what is remembered of it.

It is imported when it is needed: `cryptography` takes longer than most commands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from vestry.audit import (
    Checkpoint,
    Verdict,
    decode_checkpoint,
    load_public_key,
    load_verification_key,
    open_log,
    verify,
)
from vestry.audit_files import PUBLIC_KEY_FILE
from vestry.v1 import audit_pb2
from vestryctl.app import App
from vestryctl.commands.audit.export import receive
from vestryctl.commands.audit.remembered import Memory, place, recall, remember
from vestryctl.failures import ExitCode, Failure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a log is checked against, beside itself; None for what is not at hand."""

    public_key: bytes | None
    verification_key: bytes | None
    anchor: Checkpoint | None
    archived: int

    @classmethod
    def gather(
        cls, *, public_key: Path | None, verification_key: Path | None, anchor: Path | None, archived: int
    ) -> Evidence:
        """Read the files that are named. Raises Failure."""
        return cls(
            public_key=_load(public_key, load_public_key, "an Ed25519 public key in PEM"),
            verification_key=_load(verification_key, load_verification_key, "a verification key"),
            anchor=_load(anchor, decode_checkpoint, "a line of checkpoints.jsonl"),
            archived=archived,
        )


def verify_directory(app: App, directory: Path, evidence: Evidence) -> Verdict:
    """Check the log in a directory: an exported one, or the daemon's own."""
    key = evidence.public_key
    if key is None:
        key = _key_in(directory)
        app.err.line(
            f"vestryctl: {PUBLIC_KEY_FILE} lies beside the log, and proves little: give --public-key if you can"
        )
    return _check(directory, key, evidence, store_id="")


def verify_daemon(app: App, evidence: Evidence) -> Verdict:
    """Check the daemon's log against what is remembered of it, and remember what it is now."""
    told = app.daemon.call(app.daemon.audit.GetCheckpoint, audit_pb2.GetCheckpointRequest())
    file = place(told.store_id)
    memory = recall(file)
    key = evidence.public_key or (memory.public_key if memory else None)
    if memory is None:
        app.err.line(f"vestryctl: nothing is remembered of store {told.store_id}: this is the first look at its log")
    remembered = memory.checkpoint if memory else None
    with tempfile.TemporaryDirectory(prefix="vestryctl-audit-") as name:
        directory = Path(name)
        receive(app, directory)
        theirs = _key_in(directory)
        if key is not None and theirs != key:
            app.err.line("vestryctl: the daemon now gives another key than the one that is known to sign for its log")
        key = key or theirs
        first = evidence if evidence.anchor else replace(evidence, anchor=remembered)
        verdict = _check(directory, key, first, store_id=told.store_id)
        if verdict.is_intact and first.anchor is not remembered:
            verdict = _check(directory, key, replace(evidence, anchor=remembered), store_id=told.store_id)
    if verdict.is_intact and verdict.checkpoint is not None:
        remember(file, Memory(key, verdict.checkpoint))
    return verdict


def _check(directory: Path, key: bytes, evidence: Evidence, *, store_id: str) -> Verdict:
    try:
        checkpoints, segments = open_log(directory)
        return verify(
            segments,
            checkpoints=checkpoints,
            public_key=key,
            store_id=store_id or _origin(checkpoints),
            verification_key=evidence.verification_key,
            anchor=evidence.anchor,
            archived=evidence.archived,
        )
    except OSError as error:
        raise Failure(f"can't read the log in {directory}: {error.filename}: {error.strerror}") from error


def _origin(checkpoints: Sequence[bytes]) -> str:
    """Return the store that a log says it is of; its signature is checked against that."""
    try:
        return decode_checkpoint(checkpoints[0]).origin if checkpoints else ""
    except ValueError:
        return ""


def _key_in(directory: Path) -> bytes:
    key = _load(directory / PUBLIC_KEY_FILE, load_public_key, "an Ed25519 public key in PEM")
    assert key is not None, "a file was named"
    return key


def _load(file: Path | None, load: Callable[[bytes], T], what: str) -> T | None:
    """Return what a file holds, None without a file. Raises Failure."""
    if file is None:
        return None
    try:
        return load(file.read_bytes())
    except OSError as error:
        raise Failure(f"can't read {file}: {error.strerror}") from error
    except ValueError as error:
        raise Failure(f"{file} does not hold {what}: {error}", ExitCode.USAGE) from error
