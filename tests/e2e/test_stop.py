"""The end of a daemon: asked for, forced, or delayed by those who don't let go."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from e2e.daemon import Daemon, until
from e2e.drill import History, Writer
from e2e.failures import failed
from e2e.fleet_process import watchers
from e2e.watch import RawWatch
from vestry.v1 import admin_pb2, common_pb2

pytestmark = pytest.mark.e2e

STOP_SECONDS = 5.0


def test_every_watch_is_told_of_the_end(daemon: Daemon) -> None:
    """SIGTERM: STOPPING, the typed end and where to resume for each watch, UNAVAILABLE, exit code 0, and soon."""
    with RawWatch(daemon.config) as one, RawWatch(daemon.config) as other:
        started_at = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.notify.wait_for("STOPPING")
        assert daemon.wait() == 0
        assert time.monotonic() - started_at < STOP_SECONDS
        for watch in (one, other):
            watch.join()
            assert watch.messages[-1].end.reason == common_pb2.WATCH_END_REASON_SHUTTING_DOWN
            assert watch.messages[-1].resume_token
            assert watch.error
            end = failed(watch.error)
            assert (end.code, end.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
    assert not daemon.socket.exists()


def test_interrupting_it_is_the_same(daemon: Daemon) -> None:
    """SIGINT, from a terminal, ends the daemon as SIGTERM does."""
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0
    assert len(daemon.lines("vestryd.stopped")) == 1


def test_a_stop_under_load_loses_nothing(daemon: Daemon) -> None:
    """SIGTERM among writes: each is answered, or Unavailable for the library; what was acknowledged is there."""
    writers = [Writer("default", f"w{number}") for number in range(4)]
    daemon.save("schema.json", {})
    daemon.save("default.json", {})
    until(lambda: daemon.get() == (2, {}), "the document is empty")
    history = History("default", writers, version=2)
    with ThreadPoolExecutor(len(writers)) as threads:
        running = [threads.submit(writer.write, daemon.config) for writer in writers]
        until(lambda: all(writer.number > 5 for writer in writers), "there is load")
        daemon.signal(signal.SIGTERM)
        for one in running:
            one.result()
    assert daemon.wait() == 0
    assert not [writer.failure for writer in writers if writer.failure]
    daemon.start()
    history.check(daemon.config)


def test_who_does_not_let_go_is_cut_off(daemon: Daemon) -> None:
    """Neither a watcher that doesn't read nor a call that doesn't end keeps the daemon for more than 5 s."""
    with watchers(daemon, 5) as stuck:
        stuck.stop_reading()
        with _slow_call(daemon):
            started_at = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert time.monotonic() - started_at < STOP_SECONDS


def test_a_second_signal_forces_it(daemon: Daemon) -> None:
    """A second SIGTERM ends the daemon at once, with exit code 143, and what was acknowledged is there afterwards."""
    with _slow_call(daemon):
        before = daemon.get()
        daemon.signal(signal.SIGTERM)
        daemon.notify.wait_for("STOPPING")
        started_at = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - started_at < 2
    assert daemon.start().get() == before


@contextmanager
def _slow_call(daemon: Daemon) -> Iterator[None]:
    """Have a call under way that can't end, because nobody reads its answer."""
    for number in range(10):  # 10 MB of versions: more than all the buffers on the way take
        daemon.update({"text": f"{number}" * 500_000})
    call = daemon.admin.CreateBackup(admin_pb2.CreateBackupRequest())
    next(call)
    try:
        yield
    finally:
        call.cancel()
