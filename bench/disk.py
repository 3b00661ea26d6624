"""The disk's floor: what a durable append costs, with nothing around it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.load import Sample


class Appends:
    """Appends records to a file, so many to a write, and syncs each write as the audit log does. Lives until `close`."""

    def __init__(self, path: Path, *, record_bytes: int, together: int) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._content = bytes(record_bytes * together)
        self._together = together

    def run(self, seconds: float) -> Sample:
        """Append for so long; a call is a record, and its latency that of its write."""
        latencies: list[float] = []
        cpu_before, start = time.process_time(), time.monotonic()
        now = start
        while now - start < seconds:
            os.write(self._file, self._content)
            os.fdatasync(self._file)
            before, now = now, time.monotonic()
            latencies.append(now - before)
        cpu = time.process_time() - cpu_before
        return Sample(len(latencies) * self._together, now - start, cpu, sorted(latencies))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
