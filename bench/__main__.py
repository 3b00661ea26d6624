"""The benchmark: `python -m bench [--only NAME …] [--quick]`, from the repository's root.

Prints a table of medians and saves every round to bench/results/latest.json. Nothing fails when a goal is missed: it is a
program that prints what is true of this machine today.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import access, audit, commits, fanout, files, local, reads, report, rewrap, secrets, startup, unlock
from bench.effort import FULL, QUICK, Effort
from bench.report import Row
from vestryd.host.logs import configure

RESULTS = Path(__file__).parent / "results"  # on the repository's disk: /tmp may be memory, which syncs for nothing
MEASUREMENTS: Mapping[str, Callable[[Path, Effort], list[Row]]] = {
    "reads": reads.measure,
    "fanout": fanout.measure,
    "commits": commits.measure,
    "local": local.measure,
    "files": files.measure,
    "startup": startup.measure,
    "secrets": secrets.measure,
    "access": access.measure,
    "unlock": unlock.measure,
    "rewrap": rewrap.measure,
    "audit": audit.measure,
}


def main(arguments: Sequence[str]) -> None:
    """Measure what was asked for, print and save it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Vestry side by side with etcd.")
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), help="measure only these"
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure so little that it takes two minutes, to see that it runs"
    )
    asked = parser.parse_args(arguments)
    configure(level="error", format="console")  # of those parts of the daemon that run in this process
    _let_signals_clean_up()
    _allow_many_connections()
    rows = _measure(asked.only, QUICK if asked.quick else FULL)
    report.save(rows, RESULTS / "latest.json")
    print(report.machine_line())
    print(report.table(rows))


def _measure(names: Sequence[str], effort: Effort) -> list[Row]:
    RESULTS.mkdir(exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="run-", dir=RESULTS) as directory:
        for name in names:
            started = time.monotonic()
            place = Path(directory) / name
            place.mkdir()
            rows += MEASUREMENTS[name](place, effort)
            print(f"measured {name} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return rows


def _let_signals_clean_up() -> None:
    """Have SIGTERM unwind the stack as an interrupt does, so that no server outlives the benchmark."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main(sys.argv[1:])
