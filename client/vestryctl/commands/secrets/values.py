"""Where a secret's value comes from: a file, standard input, a prompt. Never an argument, which every process can see."""

from __future__ import annotations

import sys
from typing import Final

import click

from vestryctl.failures import Failure
from vestryctl.options import Command, Utf8
from vestryctl.prompts import ask_hidden
from vestryctl.sources import STANDARD_INPUT, read_at_most

MAX_VALUE_BYTES: Final = 65536

from_file_option = click.option(
    "--from-file",
    type=Utf8(),
    metavar="FILE",
    help="Read the value from FILE, byte for byte; - is standard input, or a prompt at a terminal.",
)
raw_option = click.option("--raw", is_flag=True, help="Keep the newline that ends standard input.")


class ValueCommand(Command):
    """A command that takes a value, but never as an argument: whoever tries hears why, and what follows from it."""

    allow_extra_args = True  # they are refused here, since click would repeat them

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and refuse what is left over."""
        rest = super().parse_args(ctx, args)
        if ctx.args:
            raise click.UsageError(
                "a value can't be an argument, which every process on the machine could read: pipe it in, name a file, or "
                "give nothing and be asked. What was just typed may stand in your shell's history.",
                ctx,
            )
        return rest


def read_value(file: str, *, raw: bool) -> bytes:
    """Return the value in `file`; that of standard input without the newline that ends it, unless it is `raw`.

    At a terminal it is asked for twice, without being shown. Raises Failure for one that is empty or too long.
    """
    if file == STANDARD_INPUT and sys.stdin.isatty():
        value: bytes | None = ask_hidden("Value", confirm=True).encode(errors="surrogateescape")
    else:
        value = read_at_most(file, limit=MAX_VALUE_BYTES + 1)  # one more, for the newline
        if value is not None and file == STANDARD_INPUT and not raw:
            value = value.removesuffix(b"\n")
    if value is None or not 0 < len(value) <= MAX_VALUE_BYTES:
        problem = "it is empty" if value == b"" else f"it has more than {MAX_VALUE_BYTES} bytes"
        raise Failure(f"the value can't be a secret's: {problem}")
    return value
