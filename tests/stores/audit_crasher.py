"""Records as fast as it can, prints each sequence once it is acknowledged, and ends the process at a step."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from vestryd.domain.audit import Entry
from vestryd.host.clock import SystemClock
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_founding import Step
from vestryd.stores.audit_ledger import Limits

STORE = "5" * 32


class Crash:
    """Ends the process when `step` is reached for the `nth` time."""

    def __init__(self, step: Step, nth: int) -> None:
        self._step = step
        self._left = nth

    def __call__(self, step: Step) -> None:
        """Count, and end."""
        if step is self._step:
            self._left -= 1
            if not self._left:
                os._exit(9)


async def write(log: FileAuditLog) -> None:
    """Record for ever."""
    while True:
        record = await log.record(Entry("uid:1000", "config.update", "namespaces/billing/config"))
        os.write(1, f"{record.sequence}\n".encode())


async def main(directory: Path, step: Step, nth: int) -> None:
    """Run four writers."""
    limits = Limits(segment_bytes=3000, checkpoint_seconds=0, key_seconds=0, reserve_bytes=0)
    log = await FileAuditLog.open(directory, STORE, clock=SystemClock(), limits=limits, reached=Crash(step, nth))
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(write(log))


asyncio.run(main(Path(sys.argv[1]), Step(sys.argv[2]), int(sys.argv[3])))
