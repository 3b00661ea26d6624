"""Audit logs made by hand, for tests that alter them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vestry.audit import Checkpoint, Outcome, Record, Segment, Verdict, encode, encode_checkpoint, verify
from vestry.audit_checkpoint import key_id, sign
from vestry.audit_record import chain_start, line_hash, next_key

STORE = "5" * 32
K1 = bytes(range(32))
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(reversed(range(32))))
PUBLIC_KEY = SIGNING_KEY.public_key().public_bytes_raw()


def record(sequence: int, **changes: object) -> Record:
    """Return an ordinary record."""
    usual = Record(
        sequence,
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sequence),
        "uid:1000",
        "config.update",
        "namespaces/billing/config",
        Outcome.ALLOWED,
        f"request-{sequence}",
        {"version": sequence, "cause": "rpc"},
    )
    return replace(usual, **changes)  # type: ignore[arg-type]  # the tests name real fields


def key_of(sequence: int) -> bytes:
    """Return K(sequence)."""
    key = K1
    for _ in range(sequence - 1):
        key = next_key(key)
    return key


def checkpoint(number: int, size: int, hash_: str, *, signing_key: Ed25519PrivateKey = SIGNING_KEY) -> Checkpoint:
    """Return a signed checkpoint."""
    name = key_id(signing_key.public_key().public_bytes_raw())
    unsigned = Checkpoint(number, STORE, size, hash_, datetime(2026, 1, 1, tzinfo=UTC), name)
    return replace(unsigned, signature=sign(unsigned, signing_key))


@dataclass
class Log:
    """A log's lines, and its checkpoints. An attack changes them as it likes."""

    lines: list[bytes] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=lambda: [checkpoint(1, 0, chain_start(STORE))])

    @property
    def last_hash(self) -> str:
        """What the next record follows from."""
        return line_hash(self.lines[-1]) if self.lines else chain_start(STORE)

    def append(self, key: bytes, **changes: object) -> None:
        """Write one record more, with `key`."""
        self.lines.append(encode(record(len(self.lines) + 1, **changes), previous=self.last_hash, key=key))

    def seal(self) -> None:
        """Sign a checkpoint."""
        self.checkpoints.append(checkpoint(len(self.checkpoints) + 1, len(self.lines), self.last_hash))

    def cut(self, size: int) -> None:
        """Drop the records above `size`, and leave the checkpoints."""
        del self.lines[size:]

    def cut_checkpoints(self, size: int) -> None:
        """Drop the checkpoints above `size`."""
        self.checkpoints = [one for one in self.checkpoints if one.size <= size]

    def copy(self) -> Log:
        """Return the log as it is now."""
        return Log(list(self.lines), list(self.checkpoints))

    def segments(self, *firsts: int) -> Sequence[Segment]:
        """Return the lines as files that begin with these records, or as one."""
        begins = firsts or (1,)
        ends = (*(first - 1 for first in begins[1:]), len(self.lines))
        return [
            Segment(f"audit-{first:012}.jsonl", self.lines[first - 1 : end])
            for first, end in zip(begins, ends, strict=True)
        ]

    def verify(self, *, with_key: bool = False, anchor: Checkpoint | None = None) -> Verdict:
        """Verify with the public key, and what else is given."""
        return verify(
            self.segments(),
            checkpoints=[encode_checkpoint(one) for one in self.checkpoints],
            public_key=PUBLIC_KEY,
            store_id=STORE,
            verification_key=K1 if with_key else None,
            anchor=anchor,
        )


def written(size: int = 60, *, seals: Sequence[int] = (20, 40, 50)) -> Log:
    """Return a log of `size` records, honestly written, with checkpoints at `seals`."""
    log = Log()
    key = K1
    for sequence in range(1, size + 1):
        log.append(key)
        key = next_key(key)
        if sequence in seals:
            log.seal()
    return log
