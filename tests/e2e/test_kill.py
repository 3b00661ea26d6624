"""kill -9 under write load, again and again. `make kill-drill` runs it for longer."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from e2e.daemon import Daemon
from e2e.drill import History, Stub, Writer

KILLS = int(os.environ.get("DRILL_KILLS", "100"))
NAMESPACES = ("default", "billing", "checkout")
WRITERS_PER_NAMESPACE = 2
LOAD_SECONDS = (0.02, 0.15)  # how long the writers are let, between a restart and the next kill

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(120 + 3 * KILLS)
def test_kill_under_write_load(make_daemon: Callable[..., Daemon]) -> None:
    """What was acknowledged survives kill -9, in order and once; what was not is there or not, and a retry settles it."""
    daemon = make_daemon(settings={"history.versions": 1_000_000, "log.level": "warning"})
    shutil.rmtree(daemon.tree)
    for name in NAMESPACES:
        daemon.save("default.json" if name == "default" else f"namespaces/{name}/default.json", {})
    writers = [Writer(name, f"w{number}") for name in NAMESPACES for number in range(WRITERS_PER_NAMESPACE)]
    histories = [History(name, [one for one in writers if one.namespace == name]) for name in NAMESPACES]

    with ThreadPoolExecutor(len(writers)) as threads:
        for _ in range(KILLS):
            daemon.start()
            _check(histories, daemon.config)
            running = [threads.submit(writer.write, daemon.config) for writer in writers]
            time.sleep(random.uniform(*LOAD_SECONDS))  # the load itself, not a wait for something
            daemon.signal(signal.SIGKILL)
            for one in running:
                one.result()
            assert daemon.wait() == -signal.SIGKILL
            assert not [writer.failure for writer in writers if writer.failure]

    daemon.start()
    _check(histories, daemon.config)
    daemon.stop()
    assert min(history.version for history in histories) > KILLS
    with closing(sqlite3.connect(daemon.store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _check(histories: Sequence[History], stub: Stub) -> None:
    for history in histories:
        history.check(stub)
