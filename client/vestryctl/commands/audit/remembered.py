"""What this user remembers of audit logs, so that a log that went backwards, or changed its key, is found out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vestry.audit_checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint
from vestryctl.failures import Failure

_STORE_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Memory:
    """What was last seen of a store's log: the key that signs for it, 32 bytes, and the newest checkpoint."""

    public_key: bytes
    checkpoint: Checkpoint


def place(store_id: str) -> Path:
    """Return the file that remembers a store's log. Raises Failure for what is no store's id."""
    if not _STORE_ID.fullmatch(store_id):
        raise Failure(f"the daemon's answer can't be read: {store_id!r} is no store's id")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "vestry" / "checkpoints" / f"{store_id}.json"


def recall(file: Path) -> Memory | None:
    """Return what is remembered, None when nothing is. Raises Failure when it can't be read."""
    try:
        members = json.loads(file.read_bytes())
        return Memory(bytes.fromhex(members["public_key"]), decode_checkpoint(members["checkpoint"].encode()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"can't read what is remembered of the log, {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = (
            f"what is remembered of the log, {file}, is damaged. Find out why; without it the log counts as unknown"
        )
        raise Failure(problem) from error


def remember(file: Path, memory: Memory) -> None:
    """Put what was seen in the place of what is remembered. Raises Failure."""
    members = {"checkpoint": encode_checkpoint(memory.checkpoint).decode(), "public_key": memory.public_key.hex()}
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(members, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        raise Failure(f"can't remember the log in {file}: {error.strerror}") from error
