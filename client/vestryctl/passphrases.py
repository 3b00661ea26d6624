"""Passphrases: typed, or the first line of a file."""

from __future__ import annotations

import click

from vestryctl.failures import Failure
from vestryctl.prompts import ask_hidden
from vestryctl.sources import read_bytes

_MAX_BYTES = 4096

passphrase_file_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Read the passphrase from the first line of FILE (- is standard input), and don't ask.",
)


def passphrase(file: str | None, *, confirm: bool) -> str:
    """Return the passphrase in `file`; without a file, ask for it. Raises Failure."""
    if file is None:
        return ask_hidden("Passphrase", confirm=confirm)
    line = read_bytes(file, limit=_MAX_BYTES).split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise Failure(f"{file} has no passphrase: its first line must be UTF-8 text")
    return text
