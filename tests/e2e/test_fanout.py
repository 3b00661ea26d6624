"""A thousand watchers, a hundred of which never read."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import psutil
import pytest

from e2e.daemon import Daemon
from e2e.fleet_process import watchers

pytestmark = pytest.mark.e2e

READERS, STALLED = 900, 100
UPDATES = 200
DOCUMENT_BYTES = 10 * 1024
WINDOW_MEBIBYTES = 1  # a hundred updates: so who never reads falls out of it
WATCHER_BYTES = 32 * 1024  # what a watcher may cost beyond its connection: a message in flight, and gRPC's buffers
MEBIBYTE = 1024 * 1024


@pytest.mark.timeout(300)
def test_who_never_reads_costs_nobody_else(make_daemon: Callable[..., Daemon]) -> None:
    """Whoever stops reading, memory is bounded by the window and a constant a watcher, and nobody else waits.

    A queue for each watcher would take 200 MiB here. Who reads again gets the newest version in place of what it missed.
    """
    _allow_files(2 * (READERS + STALLED))
    daemon = make_daemon(settings={"watch.window_mebibytes": WINDOW_MEBIBYTES, "log.level": "warning"}).start()
    memory = psutil.Process(daemon.pid).memory_info
    with watchers(daemon, READERS) as readers, watchers(daemon, STALLED) as stalled:
        connected = peak = memory().rss
        stalled.stop_reading()
        readers.expect(1 + UPDATES)
        read_seconds = []
        for number in range(UPDATES):
            daemon.update({"number": number, "text": "x" * DOCUMENT_BYTES})
            asked_at = time.monotonic()
            daemon.get()
            read_seconds.append(time.monotonic() - asked_at)
            peak = max(peak, memory().rss)
        answered_at = time.monotonic()
        readers.arrived()
        arrival_seconds = time.monotonic() - answered_at
        peak = max(peak, memory().rss)
        stalled.expect(1 + UPDATES)
        stalled.read_again()
        updates_to_the_stalled = stalled.arrived()
    assert peak - connected < WINDOW_MEBIBYTES * MEBIBYTE + (READERS + STALLED) * WATCHER_BYTES
    assert arrival_seconds < 5
    assert statistics.median(read_seconds) < 1
    assert updates_to_the_stalled < STALLED * UPDATES / 2


def _allow_files(count: int) -> None:
    """Raise the limit of open files, which the processes that are started from here inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))
