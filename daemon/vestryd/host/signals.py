"""What the signals ask for: stop (SIGTERM, SIGINT), reload (SIGHUP)."""

from __future__ import annotations

import asyncio
import os
import signal

FORCED = 128  # a process that a signal ends exits with 128 and the signal's number, after the shell's convention


class Signals:
    """Turns signals into events for as long as the event loop runs. A second request to stop ends the process at once."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _on_stop(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            os._exit(FORCED + number)
        self.stop.set()
