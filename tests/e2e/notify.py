"""systemd's end of sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 20.0
_STEP_SECONDS = 0.1


class NotifySocket:
    """A datagram socket, and what arrives at it. It outlives the daemons that talk to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(_STEP_SECONDS)

    def receive(self, seconds: float) -> dict[str, str]:
        """Return the next notification, name -> value; empty when none comes in so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(TimeoutError):
                return _parse(self._socket.recv(65_536))
            if time.monotonic() > deadline:
                return {}

    def wait_for(self, name: str, *, unless: Callable[[], bool] = lambda: False) -> dict[str, str]:
        """Return the next notification that has `name`; fail when it doesn't come, or when `unless` comes true first."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = self.receive(_STEP_SECONDS)
            if name in found:
                return found
            assert not (unless() and not found), f"{name} did not come, and won't"
        raise AssertionError(f"{name} did not come in time")

    def drain(self) -> None:
        """Forget what has arrived."""
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(65_536)
        self._socket.settimeout(_STEP_SECONDS)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _parse(datagram: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in datagram.decode().split("\n"))
    return {name: value for name, _, value in pairs}
