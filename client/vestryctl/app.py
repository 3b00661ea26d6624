"""What every command works with: the global options, and what is made from them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from vestry.channel import DEFAULT_TARGET
from vestryctl.connection import Daemon
from vestryctl.failures import ExitCode, Failure
from vestryctl.output import Output

DEFAULT_TIMEOUT_SECONDS = 10.0


@dataclass
class App:
    """The global options as parsed, and the connection and output made from them on first use. Lives for one run."""

    address: str | None = None
    style: str = "table"
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    no_color: bool = False
    token_file: str | None = None

    @cached_property
    def out(self) -> Output:
        """Standard output: what was asked for."""
        return Output(sys.stdout, style=self.style, color=self._has_color)

    @cached_property
    def err(self) -> Output:
        """Standard error: what a person is told meanwhile, out of the way of what machines read."""
        return Output(sys.stderr, style="table", color=self._has_color)

    @cached_property
    def daemon(self) -> Daemon:
        """The daemon. Raises InvalidTarget, TlsUnusable, CredentialsUnusable."""
        token_file = Path(self.token_file) if self.token_file else None
        return Daemon(self.address, timeout_seconds=self.timeout_seconds, token_file=token_file)

    @property
    def named_address(self) -> str:
        """The address in the words of whoever chose it."""
        return self.address or os.environ.get("VESTRY_ADDRESS") or DEFAULT_TARGET

    def confirm(self, question: str, *, choices: str = "yn") -> str:
        """Ask, and return the letter of `choices` that was answered; nothing but Enter means `n`.

        Raises Failure when there is nobody to ask.
        """
        if not sys.stdin.isatty():
            problem = "can't ask for confirmation, since standard input is not a terminal: give --yes to go on without"
            raise Failure(problem, ExitCode.USAGE)
        answer: str = click.prompt(
            question, type=click.Choice(list(choices), case_sensitive=False), default="n", err=True
        )
        return answer

    @property
    def _has_color(self) -> bool:
        return not self.no_color and not os.environ.get("NO_COLOR")

    def close(self) -> None:
        """Close the connection, if there is one."""
        if "daemon" in self.__dict__:
            self.daemon.close()


pass_app = click.make_pass_decorator(App, ensure=True)
