"""vestryctl as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from e2e.daemon import PATIENCE_SECONDS, Daemon

COMMAND = (sys.executable, "-m", "vestryctl")
PROGRAMS = str(Path(sys.executable).parent)  # vestryctl looks for vestryd on the PATH
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"}


def ctl(daemon: Daemon, *arguments: str) -> str:
    """Run it against a daemon, and return what it printed; it must succeed."""
    done = subprocess.run(
        [*COMMAND, "--address", daemon.target, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_ctl(daemon: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """Start it, to be read from while it runs."""
    return subprocess.Popen(
        [*COMMAND, "--address", daemon.target, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
