"""A disk that is full while the daemon runs."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from e2e.daemon import Daemon, until
from e2e.failures import failed
from e2e.watch import RawWatch
from stores.places import fill_disk, small_disk

pytestmark = pytest.mark.e2e

TEXT = "x" * 50_000
MakeDaemon = Callable[..., Daemon]


def test_a_full_disk_stops_writes_alone(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """On a full disk writes fail and say so, reads and watches go on; with room again writes go on, without a restart."""
    with small_disk(tmp_path / "disk", size="2m") as disk:
        daemon = make_daemon(settings={"state_directory": disk / "state"}).start()
        try:
            _check_without_room(daemon, lambda: fill_disk(disk), (disk / "ballast").unlink)
        finally:
            daemon.close()


def test_a_file_limit_stops_writes_alone(make_daemon: MakeDaemon) -> None:
    """The same where files may not grow: what any user can make happen."""
    daemon = make_daemon(settings={"log.level": "error"}).start()

    def limit(size: int) -> None:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    largest = max(path.stat().st_size for path in daemon.state.iterdir())
    _check_without_room(daemon, lambda: limit(largest), lambda: limit(resource.RLIM_INFINITY))


def _check_without_room(daemon: Daemon, take_room: Callable[[], object], give_room: Callable[[], object]) -> None:
    with RawWatch(daemon.config) as watch:
        daemon.update({"text": TEXT})
        take_room()
        version = _write_until_refused(daemon)
        assert daemon.get()[0] == version
        assert daemon.status().version == version
        until(lambda: watch.versions()[-1] == version, "the watch has what was acknowledged")
        with RawWatch(daemon.config) as another:
            assert another.versions() == [version]
        give_room()
        assert daemon.update({"text": "after"}).version == version + 1
        until(lambda: watch.versions()[-1] == version + 1, "the watch goes on")
        assert not watch.error
    daemon.kill()
    daemon.start()
    assert daemon.get()[0] == version + 1
    daemon.stop()


def _write_until_refused(daemon: Daemon) -> int:
    """Write until the store has no room, and return the last version that was acknowledged."""
    version = daemon.get()[0]
    for number in range(1000):
        try:
            version = daemon.update({"text": f"{number}{TEXT}"}).version
        except grpc.RpcError as error:
            refusal = failed(error)
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert refusal.metadata["cause"]
            return version
    raise AssertionError("there was room for everything")
