"""A start that can't be: the exit code says what kind of thing is wrong, the message what, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from e2e.daemon import VESTRYD, Daemon
from e2e.privileges import without_roots_rights

pytestmark = pytest.mark.e2e

UNUSABLE, CONFIG = 69, 78
MakeDaemon = Callable[..., Daemon]


def test_a_store_in_use_is_refused(daemon: Daemon, make_daemon: MakeDaemon) -> None:
    """Two daemons don't share a store: the second one names the first, which goes on."""
    message = _refused(make_daemon("other", {"state_directory": daemon.state}))
    assert f"process {daemon.pid} is using it" in message
    assert "Stop that process first" in message
    assert daemon.get()[0] == 1


def test_a_socket_in_use_is_refused(daemon: Daemon, make_daemon: MakeDaemon) -> None:
    """A socket on which somebody serves is not taken over, and not removed either."""
    message = _refused(make_daemon("other", {"listen.unix": daemon.socket}))
    assert f"can't listen on {daemon.target}" in message
    assert "another process serves there" in message
    assert daemon.socket.exists()


def test_a_port_in_use_is_refused(daemon: Daemon, make_daemon: MakeDaemon) -> None:
    """A port on which somebody serves is not shared."""
    message = _refused(make_daemon("other", {"listen.tcp": daemon.tcp_target}))
    assert f"can't listen on {daemon.tcp_target}: Address already in use" in message


def test_a_dead_socket_is_replaced(make_daemon: MakeDaemon) -> None:
    """The socket that a killed daemon left behind is nobody's."""
    daemon = make_daemon().start()
    daemon.kill()
    assert daemon.socket.exists()
    assert daemon.start().get()[0] == 1


def test_tcp_beyond_loopback_is_refused(make_daemon: MakeDaemon) -> None:
    """Without TLS the daemon is not put on a network."""
    message = _refused(make_daemon(settings={"listen.tcp": "0.0.0.0:0"}), code=CONFIG)
    assert "listen.tcp: must be a loopback address" in message


@pytest.mark.parametrize("begins", [0, 4096], ids=["header", "page"])
def test_a_corrupt_store_is_refused(make_daemon: MakeDaemon, begins: int) -> None:
    """A damaged store is found at the start, and left as it is."""
    daemon = _daemon_with_store(make_daemon)
    with daemon.store.open("r+b") as file:
        file.seek(begins)
        file.write(b"\xff" * 2048)
    before = daemon.store.read_bytes()
    message = _refused(daemon)
    assert str(daemon.store) in message
    assert "vestryctl backup restore" in message or "Name a store" in message
    assert daemon.store.read_bytes() == before


def test_a_store_from_a_newer_release_is_refused(make_daemon: MakeDaemon) -> None:
    """A schema that this release doesn't know is not guessed at."""
    daemon = _daemon_with_store(make_daemon)
    with closing(sqlite3.connect(daemon.store)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "Start the newer release that wrote it" in _refused(daemon)


@pytest.mark.parametrize("has_store", [False, True], ids=["empty", "with-store"])
def test_a_read_only_state_directory_is_refused(make_daemon: MakeDaemon, *, has_store: bool) -> None:
    """A state directory that can't be written to is told as such."""
    daemon = _daemon_with_store(make_daemon, command=(*without_roots_rights(), *VESTRYD))
    if not has_store:
        daemon.store.unlink()
        (daemon.state / "vestry.db.lock").unlink()
    daemon.state.chmod(0o500)
    for file in daemon.state.iterdir():
        file.chmod(0o400)
    message = _refused(daemon)
    assert "permission is denied" in message
    assert "Give the file and its directory to the user of vestryd" in message


def test_a_state_directory_that_is_none_is_refused(make_daemon: MakeDaemon) -> None:
    """A file in the place of the state directory is told as such."""
    daemon = make_daemon()
    daemon.state.write_text("")
    assert f"the state directory {daemon.state} can't be made" in _refused(daemon)


def test_every_setting_that_is_wrong_is_told(make_daemon: MakeDaemon) -> None:
    """One start tells all that is wrong with the settings."""
    message = _refused(make_daemon(settings={"log.level": "loud", "watch.window_event": 3}), code=CONFIG)
    assert "VESTRY_LOG_LEVEL" in message
    assert "did you mean VESTRY_WATCH_WINDOW_EVENTS?" in message


def _refused(daemon: Daemon, *, code: int = UNUSABLE) -> str:
    """Run a daemon that can't start, and return what it says to people: sentences, not a traceback."""
    done = daemon.run()
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return "\n".join(line for line in done.stderr.splitlines() if line.startswith("vestryd: "))


def _daemon_with_store(make_daemon: MakeDaemon, *, command: Sequence[str] = VESTRYD) -> Daemon:
    daemon = make_daemon(command=command).start()
    daemon.update({"text": "x" * 50_000})
    daemon.stop()
    return daemon
