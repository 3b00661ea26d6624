"""Secrets: AccessSecret, recorded durably before it answers, beside GetConfig of the same bytes and the disk's own floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.calls import access_secret, get_config, payload, put_secret
from bench.disk import Appends
from bench.effort import Effort
from bench.load import Contender, Sample, contest
from bench.processes import STATE, Server, vestryd
from bench.report import Row

SECTION = "secrets"
NAME = "password"
CALLERS = (1, 64)


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure rate, median and the server's processor time, with 1 caller and with 64, each with one call in flight."""
    rows = []
    with vestryd(directory, [SECTION]) as ours:
        ours.ask(put_secret(SECTION, NAME))
        ours.ask(access_secret(SECTION, NAME))
        record_bytes = _last_record_bytes(directory / STATE / "audit")
        for callers in CALLERS:
            disk = Appends(directory / "appends", record_bytes=record_bytes, together=callers)
            rows += _rows(callers, contest(_contenders(ours, callers), effort, disk=disk))
    return rows


def _contenders(server: Server, callers: int) -> dict[str, Contender]:
    calls = {"access": access_secret(SECTION, NAME), "config": get_config(SECTION)}
    return {name: Contender(server, [call] * callers, expected=payload(0)[:20]) for name, call in calls.items()}


def _rows(callers: int, samples: dict[str, list[Sample]]) -> list[Row]:
    what = f"AccessSecret, {callers} caller{'s' if callers > 1 else ''}"
    disk = "append + fdatasync, " + (f"{callers} records at once" if callers > 1 else "1 record")
    told: list[tuple[str, str, str, Callable[[Sample], float]]] = [
        ("config", "GetConfig", "calls/s", lambda one: one.per_second),
        ("config", "GetConfig", "µs, p50", lambda one: one.percentile(0.5)),
        ("config", "GetConfig", "CPU µs/call", lambda one: one.cpu_microseconds),
        ("disk", disk, "calls/s", lambda one: one.per_second),
        ("disk", disk, "µs, p50", lambda one: one.percentile(0.5)),
    ]
    return [
        Row(
            SECTION,
            what,
            unit,
            [figure(one) for one in samples["access"]],
            beside,
            [figure(one) for one in samples[name]],
        )
        for name, beside, unit, figure in told
    ]


def _last_record_bytes(audit: Path) -> int:
    """Return the length of the audit log's last line: an AccessSecret's."""
    return len(max(audit.glob("audit-*.jsonl")).read_bytes().splitlines(keepends=True)[-1])
