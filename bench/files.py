"""Files: from a save until the last of 1000 watchers has heard of it, less the debounce that the daemon waits on purpose."""

from __future__ import annotations

import time
from pathlib import Path

from bench.calls import payload, watch_config
from bench.effort import Effort
from bench.processes import home, vestryd
from bench.report import Row
from bench.watchers import Fleet

SECTION = "files"
WATCHERS = 1000
DEBOUNCE_SECONDS = 0.2  # the setting's default


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure saves that are written aside and renamed, one after the other."""
    delays = []
    with (
        vestryd(directory, [SECTION]) as ours,
        Fleet(ours, watch_config(SECTION), watchers=WATCHERS, writes=effort.saves) as fleet,
    ):
        for _ in range(effort.saves):
            saved = _save(home(directory, SECTION) / "default.json", payload(fleet.next_write))
            delays.append((fleet.last_has_it_at() - saved - DEBOUNCE_SECONDS) * 1e3)
    return [Row(SECTION, f"saved → last of {WATCHERS} watchers, less the debounce", "ms", delays)]


def _save(file: Path, content: bytes) -> float:
    """Save as editors do, and return when."""
    aside = file.with_suffix(".new")
    aside.write_bytes(content)
    aside.rename(file)
    return time.monotonic()
