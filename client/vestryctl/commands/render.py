"""`vestryctl render`: a file with secrets and configuration in it, for programs that only read files."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from vestry import paths
from vestry.errors import DeadlineExceeded, InvalidPath, RemoteError, SecretWithheld, Unavailable, VestryError
from vestryctl.app import App, pass_app
from vestryctl.child_environment import child_environment
from vestryctl.documents import read_text
from vestryctl.failures import ExitCode, Failure
from vestryctl.options import Command, Utf8, namespace_option
from vestryctl.private_files import write_private
from vestryctl.sources import source_name
from vestryctl.templates import Place, Template
from vestryctl.text import decoded
from vestryctl.wanted import Changes, ConfigWanted, SecretWanted, Wanted

_RETRY_SECONDS: Final = 5.0
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


@click.command(
    cls=Command,
    examples=[
        "vestryctl render nginx.conf.tmpl -f /etc/nginx/nginx.conf",
        "vestryctl render app.env.tmpl -f app.env --watch --exec 'systemctl reload app'",
        "echo 'password = {{ secret \"db-password\" | json }}' | vestryctl render -",
    ],
)
@click.argument("template", type=Utf8())
@click.option(
    "-f",
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, if it would change. [default: standard output]",
)
@click.option("--watch", is_flag=True, help="Go on, and write FILE again whenever a value changes.")
@click.option(
    "--exec", "command", type=Utf8(), metavar="COMMAND", help="Run COMMAND, without a shell, when FILE has changed."
)
@namespace_option
@pass_app
def render(app: App, template: str, file: Path | None, command: str | None, namespace: str, *, watch: bool) -> None:
    """Fill a template with secrets and configuration.

    In TEMPLATE, a file or - for standard input, stand {{ config "server.port" }}, {{ secret "db-password" }} and
    {{ env "HOME" }}; a second string names a namespace, {{ secret "key" "billing" }}; with | json behind it a value
    becomes a JSON string, quotes included; {{ "{{" }} stands for itself. FILE is written whole or not at all, and only you
    can read it (mode 0600) when the template has secrets or configuration that refers to them.
    """
    if file is None and (watch or command is not None):
        raise click.UsageError("--watch and --exec are for a FILE: give -f.")
    rendering = _Rendering(app, Template(read_text(template), source_name(template)), namespace, file, _argv(command))
    rendering.check()
    rendering.run_once()
    if watch:
        rendering.follow()


@dataclass
class _Rendering:
    """One run of `render`."""

    app: App
    template: Template
    namespace: str
    file: Path | None
    command: list[str]

    def check(self) -> None:
        """Raise Failure when a place can't be asked for at all."""
        for place in self.template.places:
            self._wanted(place)

    def run_once(self) -> None:
        """Render, write, and run the command if the file has changed."""
        text = self.template.render(self._value)
        if self.file is None:
            self.app.out.raw(text)
            return
        content = text.encode()
        if not self._is_written(content):
            write_private(self.file, content, what="the file", mode=self._mode)
            self.app.err.line(f"vestryctl: {self.file} is written")
            self._execute()

    def follow(self) -> None:
        """Render again at each change, until interrupted. What fails is told, and the file stays as it is."""
        wanted = {each for place in self.template.places if (each := self._wanted(place)) is not None}
        changes: queue.SimpleQueue[None] = queue.SimpleQueue()
        Changes(self.app, wanted, lambda: changes.put(None)).start()
        timeout: float | None = None
        while True:
            with contextlib.suppress(queue.Empty):
                changes.get(timeout=timeout)
            timeout = self._try_once()

    def _try_once(self) -> float | None:
        """Render; return after how many seconds to try again, None for "at the next change"."""
        try:
            self.run_once()
        except (VestryError, Failure) as error:
            self.app.err.line(f"vestryctl: {self.file} stays as it is: {error}")
            is_away = isinstance(error, Failure) and error.exit_code is ExitCode.UNAVAILABLE
            return _RETRY_SECONDS if is_away else None
        return None

    @property
    def _mode(self) -> int:
        """Secrets may be in configuration too, by reference; so only what has neither is for everybody."""
        is_public = all(place.source == "env" for place in self.template.places)
        return _PUBLIC if is_public else _PRIVATE

    def _is_written(self, content: bytes) -> bool:
        assert self.file is not None
        try:
            return self.file.read_bytes() == content and self.file.stat().st_mode & 0o777 & ~self._mode == 0
        except OSError:
            return False

    def _execute(self) -> None:
        if not self.command:
            return
        try:
            done = subprocess.run(self.command, env=child_environment(), check=False)  # noqa: S603 - the caller's own command
        except OSError as error:
            raise Failure(f"can't run {self.command[0]}: {error.strerror}") from error
        if done.returncode:
            raise Failure(
                f"{self.file} is written, but {self.command[0]} failed (its exit status is {done.returncode})"
            )

    def _wanted(self, place: Place) -> Wanted | None:
        """Return what a place asks the daemon for; None when it doesn't."""
        namespace = place.namespace or self.namespace
        if place.source == "secret":
            return SecretWanted(namespace, place.name)
        if place.source == "env":
            return None
        try:
            return ConfigWanted(namespace, paths.parse(place.name))
        except InvalidPath as error:
            raise Failure(f"{place.where}: {error}") from error

    def _value(self, place: Place) -> str:
        wanted = self._wanted(place)
        if wanted is None:
            if place.name not in os.environ:
                raise Failure(f"{place.where}: the environment has no {place.name}")
            return os.environ[place.name]
        try:
            text = decoded(wanted.read(self.app))
        except (RemoteError, SecretWithheld) as error:
            is_away = isinstance(error, Unavailable | DeadlineExceeded)
            code = ExitCode.UNAVAILABLE if is_away else ExitCode.REFUSED
            raise Failure(f"{place.where}: {error}", code) from error
        if text is None:
            raise Failure(f"{place.where}: {wanted} is not UTF-8 text, which a template can't hold")
        return text


def _argv(command: str | None) -> list[str]:
    try:
        return shlex.split(command or "")
    except ValueError as error:
        raise click.UsageError(f"--exec: {error}.") from error
