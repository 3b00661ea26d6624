"""Where a secret's value comes from: a file, standard input, a prompt. Never an argument, which every process can see."""

from __future__ import annotations

import sys
from typing import Final

import click

from vestryctl.failures import Failure
from vestryctl.options import Utf8
from vestryctl.prompts import ask_hidden
from vestryctl.sources import STANDARD_INPUT, read_bytes

MAX_VALUE_BYTES: Final = 65536

from_file_option = click.option(
    "--from-file",
    type=Utf8(),
    metavar="FILE",
    help="Read the value from FILE, byte for byte; - is standard input, or a prompt at a terminal.",
)
raw_option = click.option("--raw", is_flag=True, help="Keep the newline that ends standard input.")


def read_value(file: str, *, raw: bool) -> bytes:
    """Return the value in `file`; that of standard input without the newline that ends it, unless it is `raw`.

    At a terminal it is asked for twice, without being shown. Raises Failure for one that is empty or too long.
    """
    if file == STANDARD_INPUT and sys.stdin.isatty():
        value = ask_hidden("Value", confirm=True).encode(errors="surrogateescape")
    else:
        value = read_bytes(file, limit=MAX_VALUE_BYTES + 1)  # one more, for the newline
        if file == STANDARD_INPUT and not raw:
            value = value.removesuffix(b"\n")
    if not 0 < len(value) <= MAX_VALUE_BYTES:
        problem = "it is empty" if not value else f"it has more than {MAX_VALUE_BYTES} bytes"
        raise Failure(f"the value can't be a secret's: {problem}")
    return value
