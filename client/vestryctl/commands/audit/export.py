"""`vestryctl audit export`: the log's files, for elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

import click

from vestry.v1 import audit_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.failures import Failure
from vestryctl.options import Command

_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


@click.command(cls=Command, examples=["vestryctl audit export /var/backups/vestry-audit-$(date +%F)"])
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@pass_app
def export(app: App, directory: Path) -> None:
    """Copy the log's files to a new directory.

    'vestryctl audit verify DIRECTORY' checks them there. The files are readable by their owner alone. --timeout doesn't
    apply.
    """
    if directory.is_dir() and any(directory.iterdir()):
        raise Failure(f"can't export to {directory}: it is not empty. Name a new directory")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        sizes = receive(app, directory)
    except OSError as error:
        raise Failure(f"can't export to {directory}: {error.strerror}") from error
    value = {"directory": str(directory), "files": [{"file": name, "bytes": size} for name, size in sizes.items()]}
    app.out.show(value, lambda: app.out.line(f"{directory}: {len(sizes)} files, {text.size(sum(sizes.values()))}"))


def receive(app: App, directory: Path) -> dict[str, int]:
    """Write the log's files to a directory, on disk when it returns; return file name -> size. Raises OSError."""
    sizes: dict[str, int] = {}
    file: BinaryIO | None = None
    try:
        for piece in app.daemon.stream(app.daemon.audit.ExportAudit, audit_pb2.ExportAuditRequest()):
            if piece.file not in sizes:
                _finish(file)
                file = _open(directory, piece.file)
            assert file is not None, "a file is opened with its first piece"
            sizes[piece.file] = sizes.get(piece.file, 0) + file.write(piece.chunk)
        _finish(file)
        file = None
    finally:
        if file is not None:
            file.close()
    return sizes


def _open(directory: Path, name: str) -> BinaryIO:
    if not _FILE_NAME.fullmatch(name):
        raise Failure(f"the daemon's answer can't be read: it names a file {name!r}")
    return os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _finish(file: BinaryIO | None) -> None:
    if file is not None:
        with file:
            file.flush()
            os.fsync(file.fileno())
