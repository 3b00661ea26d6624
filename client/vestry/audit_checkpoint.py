"""A checkpoint: the daemon's signature under the audit log as it was at one moment.

A checkpoint signs the hash of one line, and the chain makes that line stand for all before it. Kept where the log's
writer can't reach it (in a journal elsewhere, by a client), it is an anchor: proof of what the log once held.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from vestry.audit_record import canonical, format_time, parse_time

CHECKPOINT_RECORDS: Final = 1000
"""The daemon signs a checkpoint when that many records are new."""

MAX_UNSEALED_RECORDS: Final = 2000
"""More records than that without a checkpoint are never written: a checkpoint was taken away."""

_PURPOSE = b"vestry audit checkpoint 1\n"
_LINE = re.compile(
    rb'\{"hash":"[0-9a-f]{64}","key_id":"[0-9a-f]{16}","number":[1-9][0-9]{0,17},"origin":"[^"\\]*+",'
    rb'"signature":"[A-Za-z0-9+/]{86}==","size":[0-9]{1,18},"time":"[-0-9T:.]{26}Z"\}\n?'
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signed statement that the log `origin` had `size` records, the last of which has the hash `hash`.

    `number` counts a log's checkpoints from 1 without gaps, so that a missing one shows. With `size` 0, `hash` is the
    start of the chain. `key_id` names the signing key; `signature` is Ed25519's, 64 bytes.
    """

    number: int
    origin: str
    size: int
    hash: str
    time: datetime
    key_id: str
    signature: bytes = b""


def sign(checkpoint: Checkpoint, signature_of: Ed25519PrivateKey) -> bytes:
    """Return the signature that belongs in `checkpoint`."""
    return signature_of.sign(_signed(checkpoint))


def is_signed_by(checkpoint: Checkpoint, public_key: bytes) -> bool:
    """Return whether the holder of the key signed this; `public_key` is Ed25519's, 32 bytes."""
    if checkpoint.key_id != key_id(public_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(checkpoint.signature, _signed(checkpoint))
    except InvalidSignature:
        return False
    return True


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint's line: canonical JSON, and a newline."""
    return canonical(_members(checkpoint) | {"signature": base64.b64encode(checkpoint.signature).decode()}) + b"\n"


def decode_checkpoint(line: bytes) -> Checkpoint:
    """Return the checkpoint that a line holds, unverified. Raises ValueError when it isn't the line of one."""
    if _LINE.fullmatch(line) is None:
        raise ValueError("this is not the line of an audit checkpoint")
    members = json.loads(line)
    try:
        signature = base64.b64decode(members["signature"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the signature is not base64: {error}") from None
    return Checkpoint(
        number=members["number"],
        origin=members["origin"],
        size=members["size"],
        hash=members["hash"],
        time=parse_time(members["time"]),
        key_id=members["key_id"],
        signature=signature,
    )


def key_id(public_key: bytes) -> str:
    """Return the name of a signing key: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def load_public_key(pem: bytes) -> bytes:
    """Return the 32 bytes of the Ed25519 public key in a PEM file (signing.pub). Raises ValueError."""
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("this is not an Ed25519 public key")  # noqa: TRY004 - what a file holds is a value
    return key.public_bytes_raw()


def _signed(checkpoint: Checkpoint) -> bytes:
    return _PURPOSE + canonical(_members(checkpoint))


def _members(checkpoint: Checkpoint) -> dict[str, str | int]:
    return {
        "hash": checkpoint.hash,
        "key_id": checkpoint.key_id,
        "number": checkpoint.number,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "time": format_time(checkpoint.time),
    }
