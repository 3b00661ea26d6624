"""A fleet of watchers as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from e2e import fleet
from e2e.daemon import Daemon


class FleetProcess:
    """Watchers that read, until they are stopped dead."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def expect(self, version: int) -> None:
        """Ask to be told when each watcher has `version`."""
        assert self._process.stdin
        print(version, file=self._process.stdin, flush=True)

    def arrived(self) -> int:
        """Wait until each has it, and return how many updates have come to them in all."""
        return int(self._line())

    def stop_reading(self) -> None:
        """Stop it dead: its connections stay, and nobody reads from them."""
        self._process.send_signal(signal.SIGSTOP)

    def read_again(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait_until_ready(self) -> None:
        """Wait until each watcher has the state."""
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def watchers(daemon: Daemon, count: int) -> Iterator[FleetProcess]:
    """Run so many watchers, which have the state when the block begins."""
    command = [sys.executable, fleet.__file__, daemon.target, str(count)]
    environ = {**os.environ, "VESTRY_TOKEN": daemon.token()}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            one = FleetProcess(process)
            one.wait_until_ready()
            yield one
        finally:
            process.kill()
