from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from vestryd.host.sdnotify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A socket such as systemd's, with the environment that tells of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@vestry-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        receiver.settimeout(5)
        yield receiver, {"NOTIFY_SOCKET": name}


def test_messages_are_what_systemd_expects(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    """Each fact is one datagram of assignments; a reload carries the time at which it began."""
    receiver, environ = systemd
    notifier = Notifier(environ)
    notifier.ready("serving 2 namespaces")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=serving 2 namespaces"
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, _, stamp = receiver.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert first == b"RELOADING=1"
    assert before <= int(stamp) <= after
    notifier.watchdog()
    assert receiver.recv(4096) == b"WATCHDOG=1"
    notifier.stopping()
    assert receiver.recv(4096) == b"STOPPING=1"


def test_status_stays_one_assignment(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    """Line breaks in a status can't smuggle another assignment in, and odd characters don't raise."""
    receiver, environ = systemd
    Notifier(environ).status("bad\nMAINPID=1\r\n\udcff é")
    assert receiver.recv(4096) == "STATUS=bad MAINPID=1 ? é".encode()


def test_without_systemd_nothing_happens() -> None:
    """Without a socket in the environment, nothing is sent, logged or raised."""
    with capture_logs() as lines:
        Notifier({}).ready("serving")
    assert lines == []


def test_a_socket_that_is_gone_is_logged_once(tmp_path: Path) -> None:
    """When systemd's socket is gone, one warning says so, and nothing is raised."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with capture_logs() as lines:
        notifier.ready("serving")
        notifier.watchdog()
    assert [line["event"] for line in lines] == ["sdnotify.failed"]


def test_a_socket_that_nobody_reads_does_not_hold_up(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    """A full socket costs messages, not time."""
    _, environ = systemd
    notifier = Notifier(environ)
    with capture_logs() as lines:
        for _ in range(2000):  # net.unix.max_dgram_qlen is at most hundreds
            notifier.watchdog()
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_watchdog_is_for_this_process(environ: dict[str, str], seconds: float) -> None:
    """The watchdog's time is systemd's, when it means this process; 0 means that nobody watches."""
    assert Notifier(environ).watchdog_seconds == seconds
