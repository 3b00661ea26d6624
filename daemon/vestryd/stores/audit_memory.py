"""The audit log in memory: for tests; a real log, with a chain, keys and checkpoints."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vestry.audit_checkpoint import Checkpoint, encode_checkpoint
from vestry.audit_files import segment_name
from vestry.audit_record import KEY_BYTES, Record, chain_start, encode, line_hash, next_key
from vestry.audit_verify import CHECKPOINTS_FILE
from vestryd.domain.audit import AuditFigures, Entry, Excerpt
from vestryd.domain.clock import Clock
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_founding import Signer
from vestryd.stores.audit_ledger import record_of


class MemoryAuditLog:
    """An audit log that is gone with its process. While `problem` is set, it refuses to record."""

    def __init__(self, store_id: str, *, clock: Clock) -> None:
        self.problem = ""
        self.verification_key = secrets.token_bytes(KEY_BYTES)
        self._clock = clock
        self._signer = Signer(store_id, Ed25519PrivateKey.generate())
        self._key = self.verification_key
        self._hash = chain_start(store_id)
        self._records: list[Record] = []
        self._lines: list[bytes] = []
        self._checkpoints = [self._signer.checkpoint(1, 0, self._hash, clock.now())]
        self._news = asyncio.Event()  # set once and replaced when there is a new record
        self._closed = False

    @property
    def store_id(self) -> str:
        """The store that it was made for."""
        return self._signer.store_id

    @property
    def public_key(self) -> bytes:
        """The key of its own life."""
        return self._signer.public_key

    @property
    def last_sequence(self) -> int:
        """The newest record."""
        return len(self._records)

    async def record(self, entry: Entry) -> Record:
        """Record at once."""
        if self._closed or self.problem:
            raise AuditUnavailable(self.problem or "it is closed")
        record = record_of(self.last_sequence + 1, entry, self._clock.now())
        line = encode(record, previous=self._hash, key=self._key)
        self._hash, self._key = line_hash(line), next_key(self._key)
        self._records.append(record)
        self._lines.append(line)
        self._wake()
        return record

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Return a slice."""
        return self._records[after : after + limit]

    async def watch(self, *, after: int) -> AsyncGenerator[Record, None]:
        """Follow the list."""
        cursor = after
        while True:
            news = self._news  # taken before the list is looked at, so that no news is missed
            while cursor < len(self._records):
                yield self._records[cursor]
                cursor += 1
            if self._closed:
                return
            await news.wait()

    async def checkpoint(self) -> Checkpoint:
        """Sign what is new."""
        last = self._checkpoints[-1]
        if last.size != self.last_sequence:
            last = self._signer.checkpoint(last.number + 1, self.last_sequence, self._hash, self._clock.now())
            self._checkpoints.append(last)
        return last

    async def export(self) -> AsyncGenerator[Excerpt, None]:
        """Yield the files that a log on disk would have."""
        yield Excerpt(CHECKPOINTS_FILE, b"".join(map(encode_checkpoint, self._checkpoints)))
        yield Excerpt(segment_name(1), b"".join(self._lines))

    def figures(self) -> AuditFigures:
        """Tell what there is to tell."""
        return AuditFigures(self.last_sequence, disk_bytes=0, problem=self.problem, has_verification_key=False)

    async def close(self) -> None:
        """End the watches."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
