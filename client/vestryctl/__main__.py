"""`vestryctl`, also as `python -m vestryctl`."""

from __future__ import annotations

import sys

from vestryctl.cli import cli


def main() -> None:
    """Run the program on the command line's arguments."""
    # A lone surrogate, which JSON can hold and UTF-8 can't, comes out as the escape that JSON has for it.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrapper here
    cli.main()


if __name__ == "__main__":
    main()
