"""Audit logs on files, as the tests of the adapter open and check them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine import FakeClock
from vestry.audit import Verdict, load_public_key, load_verification_key, open_log, verify
from vestryd.domain.audit import Entry
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_founding import Reached, Step
from vestryd.stores.audit_ledger import Limits

STORE = "5" * 32
SMALL = Limits(reserve_bytes=0, key_seconds=0, checkpoint_seconds=3600)


def entry(number: int = 0) -> Entry:
    """Return an ordinary entry."""
    return Entry("uid:1000", "config.update", "namespaces/billing/config", facts={"version": number})


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    limits: Limits = SMALL,
    clock: FakeClock | None = None,
    reached: Reached = lambda _: None,
) -> AsyncIterator[FileAuditLog]:
    """Open the log, and close it."""
    log = await FileAuditLog.open(directory, STORE, clock=clock or FakeClock(), limits=limits, reached=reached)
    try:
        yield log
    finally:
        await log.close()


async def write(directory: Path, count: int, *, limits: Limits = SMALL) -> None:
    """Open the log, record so many entries one after the other, and close it."""
    async with opened(directory, limits=limits) as log:
        for number in range(count):
            await log.record(entry(number))


def verdict_on(directory: Path) -> Verdict:
    """Verify the log with all that lies in its directory."""
    checkpoints, segments = open_log(directory)
    return verify(
        segments,
        checkpoints=checkpoints,
        public_key=load_public_key((directory / "signing.pub").read_bytes()),
        store_id=STORE,
        verification_key=load_verification_key((directory / "verification.key").read_bytes()),
    )


class Failing:
    """Fails the steps that are named in `steps`, as a disk would."""

    def __init__(self, *steps: Step, error: int) -> None:
        self.steps = set(steps)
        self._error = error

    def __call__(self, step: Step) -> None:
        """Fail, if the step is one of them."""
        if step in self.steps:
            raise OSError(self._error, "the disk is in flames")
