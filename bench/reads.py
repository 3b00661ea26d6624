"""Reads: GetConfig over the floor of its transport, and beside etcd's Range; the same client, the same 200 bytes."""

from __future__ import annotations

from pathlib import Path

from bench.calls import get_config, payload, put, range_of
from bench.effort import Effort
from bench.load import Contender, Sample, contest, figures
from bench.processes import Server, etcd, floor, vestryd
from bench.report import Goal, Row

SECTION = "reads"
IN_FLIGHT = (1, 32)
OTHERS = {  # contender -> its name in the report
    "floor": "an empty grpc.aio handler",
    "serializable": "etcd Range, serializable",
    "linearizable": "etcd Range, linearizable",
}


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure calls per second and the server's processor time per call, with 1 and with 32 calls in flight."""
    rows = []
    with (
        vestryd(directory, [SECTION]) as ours,
        etcd(directory) as theirs,
        floor(directory, answer=ours.ask(get_config(SECTION))) as bottom,
    ):
        if theirs:
            theirs.ask(put(SECTION))
        for in_flight in IN_FLIGHT:
            rows += _rows(in_flight, contest(_contenders(ours, bottom, theirs, in_flight), effort))
    return rows


def _contenders(ours: Server, bottom: Server, theirs: Server | None, in_flight: int) -> dict[str, Contender]:
    calls = {"vestry": (ours, get_config(SECTION)), "floor": (bottom, get_config(SECTION))}
    if theirs:
        calls["serializable"] = theirs, range_of(SECTION, serializable=True)
        calls["linearizable"] = theirs, range_of(SECTION, serializable=False)
    return {name: Contender(server, [call], in_flight, payload(0)) for name, (server, call) in calls.items()}


def _rows(in_flight: int, samples: dict[str, list[Sample]]) -> list[Row]:
    ours = samples["vestry"]
    rows = []
    for name, beside in OTHERS.items():
        goal = Goal("ratio", most=1.5) if name == "floor" else None
        others = samples.get(name)
        what = f"GetConfig, {in_flight} in flight"
        rate = figures(others, lambda one: one.per_second)
        cost = figures(others, lambda one: one.cpu_microseconds)
        rows.append(Row(SECTION, what, "calls/s", [one.per_second for one in ours], beside, rate))
        rows.append(Row(SECTION, what, "CPU µs/call", [one.cpu_microseconds for one in ours], beside, cost, goal))
    return rows
