"""Start-up: from the process's start until the daemon says that it is ready, with and without a past."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from bench.calls import update_config
from bench.effort import Effort
from bench.load import Contender, Load
from bench.processes import Server, vestryd
from bench.report import Row

SECTION = "start"
VERSIONS = 10_000
WRITERS = 32
STRETCH_SECONDS = 0.5
STRETCHES = 240  # after so many without enough versions, something is wrong


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure starts on a store with 10 000 versions, and on one with as many namespaces but no past."""
    names = [f"writer-{number:03d}" for number in range(WRITERS)]
    old, new = directory / "old", directory / "new"
    with vestryd(old, names, keep_versions=2 * VERSIONS) as server:
        _write_versions(server, names)
    with vestryd(new, names):
        pass
    with_past, without_past = [], []
    for _ in range(effort.starts):
        with_past.append(_start(old))
        without_past.append(_start(new))
    what = f"to READY with {VERSIONS} versions"
    return [Row(SECTION, what, "ms", with_past, f"with {WRITERS} versions", without_past)]


def _write_versions(server: Server, names: list[str]) -> None:
    written = 0
    with closing(Load(Contender(server, [update_config(name) for name in names]))) as load:
        for _ in range(STRETCHES):
            written += load.run(STRETCH_SECONDS).calls
            if written >= VERSIONS:
                return
    raise TimeoutError(f"{written} versions were written in place of {VERSIONS}")


def _start(directory: Path) -> float:
    """Return the milliseconds of one start on what is in the directory."""
    started = time.monotonic()
    with vestryd(directory, keep_versions=2 * VERSIONS):
        return (time.monotonic() - started) * 1e3
