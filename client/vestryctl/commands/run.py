"""`vestryctl run`: a command with secrets and configuration in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import click

from vestry.errors import DeadlineExceeded, Unavailable, VestryError
from vestry.paths import Keys
from vestryctl import completing
from vestryctl.app import App, pass_app
from vestryctl.child_environment import child_environment
from vestryctl.failures import Failure
from vestryctl.options import Command, Seconds, namespace_option
from vestryctl.supervision import Reaction, Supervisor
from vestryctl.variables import ConfigVariable, SecretVariable
from vestryctl.wanted import Changes, ConfigWanted, SecretWanted, Wanted

_NOT_EXECUTABLE: Final = 126  # as shells report it
_NOT_FOUND: Final = 127


class Reacting(click.ParamType[signal.Signals | str]):
    """What to do on a change: ignore, restart, or signal:NAME."""

    name = "reaction"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> signal.Signals | str:
        """Return `ignore`, `restart` or the signal."""
        if isinstance(value, signal.Signals):
            return value
        word, _, name = str(value).partition(":")
        if word in {"ignore", "restart"} and not name:
            return word
        known = {each.name.removeprefix("SIG"): each for each in signal.Signals}
        if word != "signal" or name.upper().removeprefix("SIG") not in known:
            self.fail(f"{value!r} is not restart, signal:HUP (or another signal) or ignore.", param, ctx)
        return known[name.upper().removeprefix("SIG")]


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[
        "vestryctl run --secret DB_PASSWORD=db-password -- ./server --port 80",
        "vestryctl run --secret api-key@billing --config PORT=server.port -- sh -c 'echo $PORT'",
        "vestryctl run --secret TLS_KEY=tls-key --on-change restart --grace 30s -- ./server",
        "vestryctl run --config LEVEL=logging.level --on-change signal:HUP -- ./server",
    ],
)
@click.option(
    "--secret",
    "secrets",
    type=SecretVariable(),
    multiple=True,
    metavar="[ENV=]NAME[@NAMESPACE]",
    help="Put a secret's current value into the variable ENV; by default its name in capitals, db-password as DB_PASSWORD.",
    shell_complete=completing.secrets,
)
@click.option(
    "--config",
    "configs",
    type=ConfigVariable(),
    multiple=True,
    metavar="ENV=PATH",
    help="Put a value of configuration into the variable ENV: a string as it is, anything else as JSON.",
)
@click.option(
    "--on-change",
    type=Reacting(),
    default="ignore",
    show_default=True,
    metavar="REACTION",
    help="When one of them changes: restart the command, signal:HUP (or another), or ignore it.",
)
@click.option(
    "--grace",
    type=Seconds(),
    default=10.0,
    metavar="SPAN",
    help="On a restart, the time from SIGTERM to SIGKILL. [default: 10s]",
)
@click.option(
    "--pass-token", is_flag=True, help="Let the command have VESTRY_TOKEN and VESTRY_TOKEN_FILE, if you have them."
)
@namespace_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- COMMAND [ARGUMENT]...")
@pass_app
def run(
    app: App,
    secrets: tuple[tuple[str, str, str], ...],
    configs: tuple[tuple[str, Keys], ...],
    on_change: signal.Signals | str,
    grace: float,
    namespace: str,
    command: tuple[str, ...],
    *,
    pass_token: bool,
) -> None:
    """Run a command, secrets and configuration in its environment.

    Values are in its environment, never in an argument, which every process on the machine could read; note that a
    command's own children inherit its environment. Your token, VESTRY_TOKEN or VESTRY_TOKEN_FILE, is kept from it. The
    command takes the place of this program, so signals reach it, and its exit code is what the caller sees. With
    --on-change this program stays, forwards signals, and ends as the command does, with 128 + n when signal n ended it.
    References from configuration to secrets are resolved; a change of the secret behind one is not noticed.
    """
    wanted: dict[str, Wanted] = {
        **{variable: SecretWanted(own or namespace, name) for variable, name, own in secrets},
        **{variable: ConfigWanted(namespace, keys) for variable, keys in configs},
    }
    if len(wanted) != len(secrets) + len(configs):
        raise click.UsageError("a variable is given twice.")
    running = _Running(app, wanted, command, on_change, pass_token)
    if on_change == "ignore":
        running.take_over()
    supervisor = Supervisor(running, grace_seconds=grace)
    Changes(app, set(wanted.values()), supervisor.announce_change).start()
    raise click.exceptions.Exit(supervisor.run())


@dataclass
class _Running:
    """One run of `run`: what the command gets, and what is done when that changes."""

    app: App
    wanted: Mapping[str, Wanted]
    command: tuple[str, ...]
    reaction: signal.Signals | str
    passes_token: bool

    def __post_init__(self) -> None:
        self._values = self._read()

    def take_over(self) -> NoReturn:
        """Let the command take the place of this program."""
        sys.stdout.flush()
        try:
            os.execvpe(self.command[0], self.command, self._environment())  # noqa: S606 - the caller's own command
        except OSError as error:
            self._fail_to_start(error)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command with the newest values."""
        try:
            return subprocess.Popen(self.command, env=self._environment())  # noqa: S603 - the caller's own command
        except OSError as error:
            self._fail_to_start(error)

    def react(self, process: subprocess.Popen[bytes]) -> Reaction:
        """Read the values again, and if they are others signal the command, or have it replaced.

        What can't be read now is told, and the command goes on as it is.
        """
        try:
            values = self._read()
        except (VestryError, Failure) as error:
            self.app.err.line(f"vestryctl: something changed, and can't be read: {error}")
            return Reaction.RETRY if isinstance(error, Unavailable | DeadlineExceeded) else Reaction.KEEP
        if values == self._values:
            return Reaction.KEEP
        self._values = values
        if isinstance(self.reaction, signal.Signals):
            process.send_signal(self.reaction)
            return Reaction.KEEP
        return Reaction.REPLACE

    def _read(self) -> dict[str, bytes]:
        values = {variable: each.read(self.app) for variable, each in self.wanted.items()}
        for variable, value in values.items():
            if b"\0" in value:
                raise Failure(
                    f"{self.wanted[variable]} can't be in {variable}: it has a NUL, which no environment can hold"
                )
        return values

    def _environment(self) -> dict[bytes, bytes]:
        inherited = dict(os.environb) if self.passes_token else child_environment()
        return {**inherited, **{variable.encode(): value for variable, value in self._values.items()}}

    def _fail_to_start(self, error: OSError) -> NoReturn:
        code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        self.app.err.line(f"vestryctl: can't run {self.command[0]}: {error.strerror}")
        raise click.exceptions.Exit(code)
