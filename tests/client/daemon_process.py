"""A fake daemon in a process of its own, for tests that have no event loop, or that stop the daemon dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = Path(__file__).with_name("fake_daemon.py")


def environment() -> dict[str, str]:
    """Return an environment in which a child process imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@contextmanager
def daemon_process(target: str, *, heartbeat_seconds: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """Run a daemon that serves `default` as {"from": "process"}; it is ready when this enters, gone when this exits."""
    arguments = [sys.executable, str(_PROGRAM), target, str(heartbeat_seconds)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
