"""The audit log: how fast it takes records, and how fast a log is verified, in this process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.effort import Effort
from bench.report import Goal, Row
from vestry.audit_files import load_verification_key, open_log
from vestry.audit_verify import verify
from vestryd.domain.audit import Entry
from vestryd.host.clock import SystemClock
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_founding import VERIFICATION_KEY_FILE

SECTION = "audit"
STORE_ID = "the store"
CALLERS = 64
ENTRY = Entry(
    "user:alice",
    "secrets.access",
    "namespaces/billing/secrets/db-password",
    request_id="0123456789abcdef",
    facts={"via": "token", "credential": "token 0123456789abcdef", "version": 1},
)


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure 64 callers that record, and the verification with the public key alone and of each record's MAC as well."""
    place = directory / "log"
    public_key, recorded = asyncio.run(_write(place, effort.records))
    private = load_verification_key((place / VERIFICATION_KEY_FILE).read_bytes())
    by_chain, by_mac = [], []
    for _ in range(effort.rounds):
        by_chain.append(_verify(place, public_key, None, effort.records))
        by_mac.append(_verify(place, public_key, private, effort.records))
    goal = Goal("value", least=100_000)
    return [
        Row(SECTION, "verify, with the public key", "records/s", by_chain, "with the MACs", by_mac, goal),
        Row(SECTION, f"record, {CALLERS} at once, durable", "records/s", [recorded]),
    ]


async def _write(place: Path, records: int) -> tuple[bytes, float]:
    """Found a log, fill it, and return its public key and the records that it took in a second."""
    log = await FileAuditLog.open(place, STORE_ID, clock=SystemClock())
    public_key = log.public_key

    async def caller(count: int) -> None:
        for _ in range(count):
            await log.record(ENTRY)

    started = time.monotonic()
    await asyncio.gather(*(caller(records // CALLERS) for _ in range(CALLERS)))
    per_second = log.last_sequence / (time.monotonic() - started)
    await log.close()
    return public_key, per_second


def _verify(place: Path, public_key: bytes, verification_key: bytes | None, records: int) -> float:
    """Return the records that were verified in a second."""
    started = time.perf_counter()
    checkpoints, segments = open_log(place)
    verdict = verify(
        segments,
        checkpoints=checkpoints,
        public_key=public_key,
        store_id=STORE_ID,
        verification_key=verification_key,
    )
    if not verdict.is_intact or verdict.records < records - CALLERS:
        raise RuntimeError(f"a log that was just written is not whole: {verdict}")
    return verdict.records / (time.perf_counter() - started)
