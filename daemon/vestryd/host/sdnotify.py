"""What systemd is told, after sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Notifier:
    """Tells systemd how the process does. It lives as long as the process; without systemd it does nothing.

    Sending never waits and never raises; that systemd doesn't listen is logged once.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_seconds = _watchdog_seconds(environ)
        self._is_failing = False

    @property
    def watchdog_seconds(self) -> float:
        """Return how long systemd waits for a sign of life before it kills the process; 0 when it doesn't watch."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        """Tell that the process serves: at first, and again after each `reloading`."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Tell that a reload began. `ready` must follow, also when the reload fails: systemd waits for it for ever."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Tell that the process is on its way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def watchdog(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(0)
                sender.sendto("\n".join(assignments).encode(errors="replace"), address)
        except OSError as error:
            if not self._is_failing:
                log.warning("sdnotify.failed", socket=self._address, error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    microseconds = environ.get("WATCHDOG_USEC", "")
    is_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if is_for_us and microseconds.isdecimal() else 0.0


def _one_line(text: str) -> str:
    """Fold `text` into one line: a line break would begin another assignment."""
    return " ".join(text.split())
