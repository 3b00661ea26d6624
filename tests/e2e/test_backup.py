"""A backup taken under write load, and what becomes of the world when it is restored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.ctl import ctl
from e2e.daemon import Daemon, until
from e2e.failures import failed
from e2e.watch import RawWatch
from vestry import Client
from vestry.v1 import config_pb2

pytestmark = pytest.mark.e2e


def test_a_backup_is_one_moment(daemon: Daemon, tmp_path: Path) -> None:
    """A backup under load holds each version up to one moment, whole: what is restored is a version that was there."""
    file = tmp_path / "backup.db"
    with _load(daemon):
        ctl(daemon, "backup", "create", str(file))
    history = _documents(daemon)
    daemon.stop()
    _restore(daemon, file)
    daemon.start()
    restored = _documents(daemon)
    assert 1 < len(restored) < len(history)
    assert restored == history[: len(restored)]


def test_a_restored_store_is_another_incarnation(daemon: Daemon, tmp_path: Path) -> None:
    """After a restore the store is the same, its incarnation is not: old tokens are refused, and views recover."""
    file = tmp_path / "backup.db"
    before = daemon.status().revision
    ctl(daemon, "backup", "create", str(file))
    with Client(daemon.target) as client:
        view = client.config()
        daemon.update({"lost": True})
        until(lambda: view.version == 2, "the view is up to date")
        with RawWatch(daemon.config) as watch:
            token = watch.token
        daemon.stop()
        _restore(daemon, file)
        daemon.start()
        after = daemon.status().revision
        assert (after.store_id, after.revision) == (before.store_id, before.revision)
        assert after.incarnation != before.incarnation

        with RawWatch(daemon.config, resume_token=token) as refused:
            assert refused.error
            assert failed(refused.error).reason == "RESUME_TOKEN_FOREIGN"
        until(lambda: view.is_live and "lost" not in view, "the view shows what was restored")
        assert view.version == 1
        daemon.update({"found": True})
        until(lambda: view.get("found"), "the view follows again")


def test_a_running_daemon_is_not_restored(daemon: Daemon, tmp_path: Path) -> None:
    """A restore is refused while a daemon has the store, and changes nothing."""
    file = tmp_path / "backup.db"
    ctl(daemon, "backup", "create", str(file))
    daemon.update({"kept": True})
    done = daemon.run("--restore", str(file))
    assert done.returncode == 69
    assert f"process {daemon.pid} is using it" in done.stderr
    assert daemon.get()[1]["kept"]


def test_garbage_is_not_restored(daemon: Daemon, tmp_path: Path) -> None:
    """What is no backup is refused, and the store stays what it was."""
    daemon.stop()
    file = tmp_path / "garbage"
    file.write_bytes(b"garbage" * 1000)
    done = daemon.run("--restore", str(file))
    assert done.returncode == 69
    assert str(file) in done.stderr
    assert daemon.start().get()[0] == 1


def _restore(daemon: Daemon, file: Path) -> None:
    ctl(daemon, "backup", "restore", str(file), "--state-directory", str(daemon.state), "--yes")


def _documents(daemon: Daemon) -> list[Any]:
    """Return the checksum of each version, from the first on."""
    request = config_pb2.ListConfigVersionsRequest(page_size=1000)
    versions = daemon.config.ListConfigVersions(request, timeout=10).versions
    return [version.checksum for version in reversed(versions)]


@contextmanager
def _load(daemon: Daemon) -> Iterator[None]:
    """Write while the block runs, and at least something before it and after it."""
    done = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not done.is_set():
            written = daemon.update({"number": written}).version

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: written > 20, "there is load")
    try:
        yield
        last = written
        until(lambda: written > last, "there was load until the end")
    finally:
        done.set()
        writer.join()
