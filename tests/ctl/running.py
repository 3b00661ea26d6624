"""The program, run in this process or as one of its own, at a pipe or at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import vestryctl
from vestryctl.cli import cli

_PROGRAM = (sys.executable, "-m", "vestryctl")
_CLIENT = Path(vestryctl.__file__).parent.parent
_PATIENCE_SECONDS = 20.0


class Ctl:
    """Runs vestryctl against one daemon."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._options = ("--address", address)

    def __call__(
        self, *arguments: str, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None
    ) -> Result:
        """Run it in this process, with pipes."""
        return CliRunner().invoke(cli, ["--address", self.address, *arguments], input=stdin, env=env)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run it with `-o json`, and return what it printed; it must succeed."""
        result = self(*arguments, "-o", "json", stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start it as a process of its own."""
        return subprocess.Popen(self._command(arguments), env=_environment(), **options)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it as a process of its own, and return what it printed."""
        return run(*self._options, *arguments, **options)

    def at_terminal(self, *arguments: str, **environment: str) -> Terminal:
        """Start it with a terminal of 100 columns as its standard input, output and error."""
        return Terminal(self._command(arguments), _environment() | {"COLUMNS": "100"} | environment)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [*_PROGRAM, *self._options, *arguments]


class Terminal:
    """A person's end of a pseudo-terminal, with a program at the other."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.output = ""
        self._place = 0  # up to where `read_until` has read

    def read_until(self, text: str) -> None:
        """Read until `text` has been printed, after what was read before."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := self.output.find(text, self._place)) < 0:
            assert self._read(deadline), f"{text!r} did not come: {self.output!r}"
        self._place = found + len(text)

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._fd, text.encode())

    def finish(self) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._read(deadline):
            pass
        os.close(self._fd)
        return self.process.wait(_PATIENCE_SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            content = os.read(self._fd, 65536) if ready else b""
        except OSError:  # EIO: the other end is closed
            return False
        self.output += content.decode().replace("\r\n", "\n")
        return bool(content)


def run(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program without telling it where the daemon is; `env` is added to the environment."""
    options = {"capture_output": True, "text": True, "timeout": _PATIENCE_SECONDS, **options}
    return subprocess.run([*_PROGRAM, *arguments], env=_environment() | dict(env or {}), check=False, **options)


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(_CLIENT), "PYTHONWARNINGS": "error"}
