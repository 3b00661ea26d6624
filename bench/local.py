"""A local read of the client library's live view, beside reads that go to a server."""

from __future__ import annotations

import timeit
from pathlib import Path

from bench.calls import POINTER, get_config, payload, put, range_of
from bench.effort import Effort
from bench.load import Contender, contest, figures
from bench.processes import etcd, vestryd
from bench.report import Goal, Row
from vestry import Client

SECTION = "local"
READS = 200_000


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure `view["service.note"]`, and one remote read at a time of the same value."""
    with vestryd(directory, [SECTION]) as ours, etcd(directory) as theirs:
        local = _read_a_view(f"127.0.0.1:{ours.port}", ours.token, effort.rounds)
        contenders = {"vestry": Contender(ours, [get_config(SECTION)], expected=payload(0))}
        if theirs:
            theirs.ask(put(SECTION))
            contenders["etcd"] = Contender(theirs, [range_of(SECTION, serializable=True)], expected=payload(0))
        samples = contest(contenders, effort)
    rows = []
    for name, beside in (("etcd", "etcd Range, serializable"), ("vestry", "GetConfig")):
        remote = figures(samples.get(name), lambda one: one.microseconds * 1e3)
        rows.append(Row(SECTION, f'view["{POINTER}"]', "ns", local, beside, remote, Goal("value", most=1000)))
    return rows


def _read_a_view(target: str, token: str, rounds: int) -> list[float]:
    """Return the nanoseconds of a read, in each round."""
    with Client(target, token=token) as client:
        view = client.config(SECTION)
        timer = timeit.Timer("view[path]", globals={"view": view, "path": POINTER})
        return [seconds / READS * 1e9 for seconds in timer.repeat(rounds, READS)]
