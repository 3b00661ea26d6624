"""`vestryctl backup`: copies of the store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from vestry.v1 import admin_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.failures import Failure
from vestryctl.options import Group, yes_option
from vestryctl.private_files import replacing
from vestryctl.wire import as_value

_FILE = click.Path(path_type=Path)
_SETTINGS = Path("/etc/vestry/vestryd.toml")


@click.group(cls=Group)
def backup() -> None:
    """Copy the store to a file, or restore it from one."""


@backup.command(
    examples=["vestryctl backup create /var/backups/vestry-$(date +%F).db", "vestryctl backup create vestry.db --force"]
)
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@pass_app
def create(app: App, file: Path, *, force: bool) -> None:
    """Copy the store to a file.

    The daemon goes on serving meanwhile. FILE appears when it is complete and on disk, readable by its owner alone
    (mode 0600). --timeout doesn't apply.
    """
    _refuse_existing(file, force=force)
    with replacing(file, what="the backup") as copy:
        first, size = _receive(app, copy)
        _refuse_existing(file, force=force)
    value = {"file": str(file), "bytes": size, "revision": as_value(first.revision)}
    summary = f"{file}: {text.size(size)}, the store at revision {first.revision.revision}"
    app.out.show(value, lambda: app.out.line(summary))


@backup.command(
    examples=[
        "sudo systemctl stop vestryd",
        "sudo -u vestry vestryctl backup restore /var/backups/vestry.db",
        "sudo systemctl start vestryd",
    ]
)
@click.argument("file", type=_FILE)
@click.option("--settings", type=_FILE, help=f"The daemon's settings file. [default: {_SETTINGS}, if it exists]")
@click.option("--state-directory", type=_FILE, help="Where the store is kept. [default: as the settings say]")
@yes_option
@pass_app
def restore(app: App, file: Path, settings: Path | None, state_directory: Path | None, *, yes: bool) -> None:
    """Put a copy in the place of the store.

    The daemon must be stopped. Runs 'vestryd --restore FILE' on this machine, as the user who calls, who should be the
    daemon's; it checks the copy first, and refuses while a daemon has the store. What was written after the copy was made is
    lost.
    """
    if settings is None and _SETTINGS.exists():
        settings = _SETTINGS
    command = [_vestryd(), "--restore", str(file)]
    if settings is not None:
        command += ["--settings", str(settings)]
    if state_directory is not None:
        command += ["--state-directory", str(state_directory)]
    if not yes and app.confirm(f"Replace the store with {file}, and lose what was written since?") != "y":
        raise Failure("nothing was changed")
    code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own daemon, and arguments of its user
    if code:
        raise Failure(f"vestryd did not restore {file} (its exit status is {code}); the store is what it was")


def _refuse_existing(file: Path, *, force: bool) -> None:
    if file.is_dir():
        raise Failure(f"can't write the backup: {file} is a directory")
    if not force and os.path.lexists(file):
        raise Failure(f"can't write the backup: {file} exists. Name another file, or give --force")


def _receive(app: App, copy: BinaryIO) -> tuple[admin_pb2.CreateBackupResponse, int]:
    """Write the pieces to `copy`, and return the first one and the size; Failure when some are missing."""
    first: admin_pb2.CreateBackupResponse | None = None
    size = 0
    with _progress(app) as progress:
        task = progress.add_task("backup", total=None)
        for piece in app.daemon.stream(app.daemon.admin.CreateBackup, admin_pb2.CreateBackupRequest()):
            if first is None:
                first = piece
                progress.update(task, total=piece.total_bytes)
            size += copy.write(piece.chunk)
            progress.update(task, completed=size)
    if first is None or size != first.total_bytes:
        raise Failure("the backup ended early, so nothing was written: try again")
    return first, size


def _progress(app: App) -> Progress:
    """Return a progress bar on standard error, invisible unless that is a terminal."""
    console = Console(stderr=True, no_color=app.no_color)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _vestryd() -> str:
    """Return the path of the daemon's program: on the PATH, or beside ours."""
    found = shutil.which("vestryd") or shutil.which("vestryd", path=str(Path(sys.argv[0]).resolve().parent))
    if found is None:
        raise Failure(
            "can't find vestryd, which does the restoring: run this on the daemon's machine, as its administrator"
        )
    return found
