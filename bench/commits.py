"""Durable commits: UpdateConfig, a namespace for each writer, beside etcd's Put, a key for each; both sync the same disk."""

from __future__ import annotations

from pathlib import Path

from bench.calls import put, update_config
from bench.effort import Effort
from bench.load import Contender, Sample, contest, figures
from bench.processes import etcd, vestryd
from bench.report import Goal, Row

SECTION = "commits"
BESIDE = "etcd Put"
WRITERS = (1, 32, 128)


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure commits per second and the server's processor time per commit, with 1, 32 and 128 writers."""
    names = [f"writer-{number:03d}" for number in range(max(WRITERS))]
    rows = []
    with vestryd(directory, names) as ours, etcd(directory) as theirs:
        for writers in WRITERS:
            contenders = {"vestry": Contender(ours, [update_config(name) for name in names[:writers]])}
            if theirs:
                contenders["etcd"] = Contender(theirs, [put(name) for name in names[:writers]])
            rows += _rows(writers, contest(contenders, effort))
    return rows


def _rows(writers: int, samples: dict[str, list[Sample]]) -> list[Row]:
    ours, others = samples["vestry"], samples.get("etcd")
    what = f"UpdateConfig, {writers} writer{'s' if writers > 1 else ''}"
    rate = figures(others, lambda one: one.per_second)
    cost = figures(others, lambda one: one.cpu_microseconds)
    return [
        Row(SECTION, what, "commits/s", [one.per_second for one in ours], BESIDE, rate, Goal("ratio", least=1)),
        Row(SECTION, what, "CPU µs/commit", [one.cpu_microseconds for one in ours], BESIDE, cost),
    ]
