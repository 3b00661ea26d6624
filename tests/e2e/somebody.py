"""Another user of the daemon's host, who is nobody in particular."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.ctl import COMMAND, ENVIRONMENT
from e2e.daemon import PATIENCE_SECONDS
from e2e.mortal import Mortal

UID = 65_534
AS_SOMEBODY = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")


@contextmanager
def shared(daemon: Mortal) -> Iterator[str]:
    """Let another user reach the daemon, which isn't started yet, and return that user's name.

    Skips the test where nobody can become another user.
    """
    if os.geteuid():
        pytest.skip("only root can become another user")
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv to become another user with")
    with tempfile.TemporaryDirectory(prefix="vestry-test-") as directory:
        Path(directory).chmod(0o755)
        daemon.socket = Path(directory) / "v.sock"
        daemon.target = f"unix:{daemon.socket}"
        daemon.settings |= {"listen.unix": daemon.socket, "listen.unix_mode": "0666"}
        yield pwd.getpwuid(UID).pw_name


def ctl_of_somebody(daemon: Mortal, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run vestryctl as that user."""
    done = subprocess.run(
        [*AS_SOMEBODY, *COMMAND, "--address", daemon.target, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"another user can't run this Python: {done.stderr.splitlines()[-1]}")
    return done
