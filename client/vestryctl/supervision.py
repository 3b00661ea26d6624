"""A child process and its life: started, told of changes, replaced, followed to its end."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from enum import Enum, auto
from types import FrameType
from typing import Final, Protocol

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_FORWARDED: Final = (*_ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)  # there these reach the child by themselves
_RETRY_SECONDS: Final = 5.0


class Reaction(Enum):
    """What a change means for the child."""

    KEEP = auto()
    REPLACE = auto()
    RETRY = auto()  # it can't be told yet


class Child(Protocol):
    """What is supervised."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process."""

    def react(self, process: subprocess.Popen[bytes]) -> Reaction:
        """Look at what has changed, and signal the process if that is the reaction."""


class Supervisor:
    """Runs one process after the other until one ends by itself. Owns this process' signals while `run` runs.

    Signals are forwarded at once. A process that is to be replaced gets SIGTERM and, after `grace_seconds`, SIGKILL.
    """

    def __init__(self, child: Child, *, grace_seconds: float) -> None:
        self._child = child
        self._grace_seconds = grace_seconds
        self._events: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()  # what ended; a change
        self._process: subprocess.Popen[bytes] | None = None
        self._is_told_to_end = False  # by a signal, since the last change

    def announce_change(self) -> None:
        """Say that something may have changed. Any thread may."""
        self._events.put(None)

    def run(self) -> int:
        """Run until a process ends by itself, and return what a shell would: its exit status, or 128 + its signal."""
        before = {number: signal.signal(number, self._forward) for number in _FORWARDED}
        try:
            return self._serve(self._start())
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _serve(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            event = self._events.get()
            if event is process:
                return process.returncode if process.returncode >= 0 else 128 - process.returncode
            if event is None:
                process = self._changed(process)

    def _changed(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Do what a change asks for, and return the process that runs from now on."""
        self._is_told_to_end = False
        reaction = self._child.react(process)
        if reaction is Reaction.RETRY:
            timer = threading.Timer(_RETRY_SECONDS, self.announce_change)
            timer.daemon = True
            timer.start()
        if reaction is not Reaction.REPLACE or process.poll() is not None:
            return process
        self._stop(process)
        if self._is_told_to_end:
            self._events.put(process)
            return process
        return self._start()

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop a process, and forget the changes that were announced meanwhile: the next one starts with them."""
        process.terminate()
        kill_at = time.monotonic() + self._grace_seconds
        while True:
            try:
                if self._events.get(timeout=max(0.0, kill_at - time.monotonic())) is process:
                    return
            except queue.Empty:
                process.kill()
                kill_at = time.monotonic() + self._grace_seconds

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = process = self._child.start()
        threading.Thread(target=self._await_end, args=(process,), daemon=True).start()
        return process

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put(process)

    def _forward(self, number: int, _: FrameType | None) -> None:
        self._is_told_to_end = self._is_told_to_end or number in _ENDING
        is_there_already = number in _FROM_TERMINAL and sys.stdin.isatty()
        if self._process is not None and not is_there_already:
            self._process.send_signal(number)
