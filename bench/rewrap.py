"""Re-wrapping: how fast a rotated keyring gets through all versions, and what readers notice of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.calls import access_secret, get_config, rewrap_status, rotate_keyring
from bench.effort import Effort
from bench.load import Contender, Sample, contest
from bench.processes import STATE, Server, vestryd
from bench.report import Row
from bench.vaults import VALUE, fill, secret_name
from vestry.v1.secrets_pb2 import RewrapStatusResponse

SECTION = "re-wrap"
NAMESPACE = "namespace-0"
LOOK_EVERY_SECONDS = 0.05
DONE_SECONDS = 600.0


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure the rate without readers, and then readers with and without it: GetConfig and AccessSecret, one at a time."""
    (directory / STATE).mkdir()
    asyncio.run(fill(directory / STATE, effort.secrets))
    with vestryd(directory, [NAMESPACE]) as ours:
        rate = effort.secrets / _seconds_to_rewrap(ours)
        contenders = {
            "GetConfig": Contender(ours, [get_config(NAMESPACE)]),
            "AccessSecret": Contender(ours, [access_secret(NAMESPACE, secret_name(0))], expected=VALUE),
        }
        quiet = contest(contenders, effort)
        ours.ask(rotate_keyring())
        busy = contest(contenders, effort)
        if not _status(ours).remaining:
            print(f"{SECTION}: it was over before the readers were: their figures mix both")
    what = f"{effort.secrets} versions of {len(VALUE)} bytes"
    return [Row(SECTION, what, "versions/s", [rate]), *_rows(busy, quiet)]


def _rows(busy: dict[str, list[Sample]], quiet: dict[str, list[Sample]]) -> list[Row]:
    beside = "without re-wrapping"
    return [
        Row(
            SECTION,
            f"{name} meanwhile",
            f"µs, p{share}",
            [one.percentile(share / 100) for one in busy[name]],
            beside,
            [one.percentile(share / 100) for one in quiet[name]],
        )
        for name in busy
        for share in (50, 99)
    ]


def _seconds_to_rewrap(server: Server) -> float:
    """Rotate the keyring, and return how long it takes until every version is wrapped again."""
    started = time.monotonic()
    server.ask(rotate_keyring())
    while time.monotonic() - started < DONE_SECONDS:
        status = _status(server)
        if not status.remaining and not status.running:
            return time.monotonic() - started
        time.sleep(LOOK_EVERY_SECONDS)
    raise TimeoutError(f"{status.remaining} versions are not wrapped again: {status.problem}")


def _status(server: Server) -> RewrapStatusResponse:
    return RewrapStatusResponse.FromString(server.ask(rewrap_status()))
