"""`vestryctl secrets export`: current values as files, each encrypted under a passphrase."""

from __future__ import annotations

from pathlib import Path

import click

from vestry.secrets import check_name
from vestry.v1 import secrets_pb2
from vestryctl import completing
from vestryctl.app import App, pass_app
from vestryctl.options import Command, Utf8, namespace_option
from vestryctl.passphrases import passphrase, passphrase_file_option
from vestryctl.private_files import private_directory, write_private


@click.command(
    cls=Command,
    examples=[
        "vestryctl secrets export backup/",
        "vestryctl secrets export backup/ db-password api-key -n billing --passphrase-file passphrase.txt",
    ],
)
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, type=Utf8(), shell_complete=completing.secrets)
@passphrase_file_option
@namespace_option
@pass_app
def export(app: App, directory: Path, names: tuple[str, ...], passphrase_file: str | None, namespace: str) -> None:
    """Write current values to encrypted files.

    DIRECTORY gets a file NAME.enc for each secret, or for each of NAMES; only you can read it. 'vestryctl secrets import'
    takes them in again, here or at another vestryd. They are encrypted under a passphrase, which has at least 12
    characters and is asked for twice.
    """
    under = passphrase(passphrase_file, confirm=True)
    private_directory(directory)
    request = secrets_pb2.ExportSecretsRequest(namespace=namespace, names=names, passphrase=under)
    written = []
    for answer in app.daemon.stream(app.daemon.secrets.ExportSecrets, request):
        file = directory / f"{check_name(answer.name)}.enc"
        write_private(file, answer.file, what="the file")
        written.append({"name": answer.name, "version": answer.version, "file": str(file)})
    app.out.show({"secrets": written}, lambda: _print(app, directory, written))


def _print(app: App, directory: Path, written: list[dict[str, object]]) -> None:
    app.out.table(
        ("NAME", "VERSION", "FILE"),
        ((str(each["name"]), str(each["version"]), str(each["file"])) for each in written),
        fold=("NAME", "FILE"),
    )
    app.out.line(f"{len(written)} secrets are in {directory}")
