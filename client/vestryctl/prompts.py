"""What is typed without being seen: values and passphrases."""

from __future__ import annotations

import sys

import click

from vestryctl.failures import ExitCode, Failure


def ask_hidden(what: str, *, confirm: bool) -> str:
    """Ask for a line that isn't shown, twice if it is to be confirmed. Raises Failure when there is nobody to ask."""
    if not sys.stdin.isatty():
        raise Failure(f"can't ask for the {what.lower()}, since standard input is not a terminal", ExitCode.USAGE)
    answer: str = click.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
