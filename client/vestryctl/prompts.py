"""What is typed without being seen, or read from where only its owner can: values and passphrases."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vestryctl.failures import ExitCode, Failure

STANDARD_INPUT = "-"


def ask_hidden(what: str, *, confirm: bool) -> str:
    """Ask for a line that isn't shown, twice if it is to be confirmed. Raises Failure when there is nobody to ask."""
    if not sys.stdin.isatty():
        raise Failure(f"can't ask for the {what.lower()}, since standard input is not a terminal", ExitCode.USAGE)
    answer: str = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def read_bytes(file: str, *, limit: int) -> bytes:
    """Return what is in `file`, or on standard input when that is `-`. Raises Failure when it is over `limit` bytes."""
    name = "standard input" if file == STANDARD_INPUT else file
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(limit + 1)
    except OSError as error:
        raise Failure(f"can't read {name}: {error.strerror}") from error
    if len(content) > limit:
        raise Failure(f"{name} has more than {limit} bytes")
    return content
