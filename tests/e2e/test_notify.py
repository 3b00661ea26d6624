"""What a service manager is told, through a real notify socket."""

from __future__ import annotations

import signal
import stat
import sys
import time
from collections.abc import Callable

import pytest

from e2e import blockable
from e2e.daemon import Daemon

pytestmark = pytest.mark.e2e

DEAF = {"config.debounce_milliseconds": 60_000}  # a saved file waits for SIGHUP
PING_SECONDS = 0.1


def test_ready_means_serving(make_daemon: Callable[..., Daemon]) -> None:
    """At READY a call is answered, the files are in force, and the socket has the mode that was set."""
    daemon = make_daemon(settings={"listen.unix_mode": "0640"}).start()
    assert daemon.get()[1]["server"] == {"port": 80}
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o640


def test_the_socket_is_for_owner_and_group(daemon: Daemon) -> None:
    """Unless it is told otherwise, the daemon gives its socket mode 0660, whatever its umask is."""
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_a_reload_is_told_from_beginning_to_end(make_daemon: Callable[..., Daemon]) -> None:
    """SIGHUP: RELOADING with the time, then READY once what the files say is in force."""
    daemon = make_daemon(settings=DEAF).start()
    daemon.save("override.json", {"server": {"port": 81}})
    before = time.monotonic()
    daemon.signal(signal.SIGHUP)
    reloading = daemon.notify.wait_for("RELOADING")
    ready = daemon.notify.wait_for("READY")
    assert before <= int(reloading["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
    assert ready == {"READY": "1", "STATUS": "serving 1 namespace"}
    assert daemon.get() == (2, {"name": "sample", "server": {"port": 81}})


def test_a_rejected_reload_ends_as_well(make_daemon: Callable[..., Daemon]) -> None:
    """SIGHUP with a bad file: READY all the same, with a status that names file, place and reason; then it is mended."""
    daemon = make_daemon(settings=DEAF).start()
    daemon.save("override.json", {"server": {"port": 70_000}})
    daemon.signal(signal.SIGHUP)
    daemon.notify.wait_for("RELOADING")
    status = daemon.notify.wait_for("READY")["STATUS"]
    for part in ("config/default", "override.json", "/server/port", "maximum"):
        assert part in status
    assert daemon.get()[0] == 1
    (daemon.tree / "override.json").unlink()
    daemon.signal(signal.SIGHUP)
    daemon.notify.wait_for("RELOADING")
    assert daemon.notify.wait_for("READY")["STATUS"] == "serving 1 namespace"


def test_a_rejection_shows_in_the_status_by_itself(daemon: Daemon) -> None:
    """A bad file sets the status line without anybody asking for a reload, and mending it sets it back."""
    daemon.save("override.json", "{")
    assert "override.json:1:2" in daemon.notify.wait_for("STATUS")["STATUS"]
    (daemon.tree / "override.json").unlink()
    assert daemon.notify.wait_for("STATUS")["STATUS"] == "serving 1 namespace"


def test_a_blocked_loop_gives_no_sign_of_life(make_daemon: Callable[..., Daemon]) -> None:
    """The watchdog is fed by the loop that does the work: in time while it runs, and not while it is blocked."""
    watchdog = {"WATCHDOG_USEC": str(int(3 * PING_SECONDS * 1e6))}
    daemon = make_daemon(command=(sys.executable, blockable.__file__), environ=watchdog).start()
    for _ in range(5):
        assert daemon.notify.receive(1)["WATCHDOG"] == "1"
    daemon.signal(signal.SIGUSR1)
    daemon.notify.drain()
    silence = _silence(daemon)
    assert silence > blockable.BLOCK_SECONDS / 2
    for _ in range(5):
        assert daemon.notify.receive(1)["WATCHDOG"] == "1"


def test_a_foreign_watchdog_is_not_fed(make_daemon: Callable[..., Daemon]) -> None:
    """WATCHDOG_PID of another process: its watchdog is not ours to feed."""
    daemon = make_daemon(environ={"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}).start()
    assert daemon.notify.receive(0.3) == {}


def _silence(daemon: Daemon) -> float:
    """Return the longest time without a notification, of the next few."""
    longest = 0.0
    heard_at = time.monotonic()
    for _ in range(5):
        assert daemon.notify.receive(10 * blockable.BLOCK_SECONDS)
        now = time.monotonic()
        longest, heard_at = max(longest, now - heard_at), now
    return longest
