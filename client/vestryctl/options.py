"""The options that commands share, and commands and groups that know the global ones.

Global options may stand anywhere: before the command, where the environment's variables count as well, or after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from vestry.channel import DEFAULT_TARGET
from vestry.durations import parse_duration
from vestry.errors import InvalidPath
from vestry.paths import Keys, parse
from vestryctl import completing
from vestryctl.app import DEFAULT_TIMEOUT_SECONDS, App
from vestryctl.output import FORMATS

_MAX_SECONDS = 86_400.0
_WHOLE = re.compile(r"[1-9][0-9]{0,17}")  # an int64 holds any of these


class Utf8(click.ParamType[str]):
    """A text that can travel: what the shell handed over must be UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; a usage error if its bytes were not UTF-8."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail(f"{value!a} is not UTF-8.", param, ctx)
        return str(value)


class Path(click.ParamType[Keys]):
    """A path into a document, `server.port` or `/server/port`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Keys:
        """Return the keys that the path leads through."""
        if isinstance(value, tuple):
            return value
        try:
            return parse(Utf8().convert(value, param, ctx))
        except InvalidPath as error:
            self.fail(f"{error}.", param, ctx)


class Whole(click.ParamType[int]):
    """A whole number from 1 on: a version, or how many of something."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        if _WHOLE.fullmatch(value) is None:
            self.fail(f"{value!r} is not a whole number from 1 on.", param, ctx)
        return int(value)


class NotNegative(click.ParamType[int]):
    """A whole number from 0 on."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        return 0 if value in {0, "0"} else Whole().convert(value, param, ctx)


class Seconds(click.ParamType[float]):
    """A span of time: a number of seconds, or a number with a unit such as 500ms or 1m."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number of seconds."""
        try:
            seconds = float(value) if not str(value)[-1:].isalpha() else parse_duration(value).total_seconds()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a span of time: write 10, 500ms or 1m.", param, ctx)
        if not 0 < seconds <= _MAX_SECONDS:
            self.fail(f"{value!r} is not between 0 and a day.", param, ctx)
        return seconds


class Span(click.ParamType[timedelta]):
    """A span of time, as in 90s, 12h or 30d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the span."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a span of time: write 90s, 12h or 30d.", param, ctx)


def global_options(*, environment: bool) -> list[click.Parameter]:
    """Return the global options; of several commands on the line, the last that brings an option wins.

    `environment` says whether the environment may speak for an option. It may for the first command on the line alone:
    otherwise it would overrule what stands before a later one.
    """

    def remember(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value is not None and option.name is not None:
            setattr(context.ensure_object(App), option.name, value)

    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=remember, **attributes)

    return [
        option(
            "--address",
            type=Utf8(),
            metavar="ADDRESS",
            help=f"Where vestryd listens: unix:/path or host:port. [env: VESTRY_ADDRESS; default: {DEFAULT_TARGET}]",
        ),
        option(
            "-o",
            "--output",
            "style",
            type=click.Choice(FORMATS),
            envvar="VESTRY_OUTPUT" if environment else None,
            help="How to print. [env: VESTRY_OUTPUT; default: table]",
        ),
        option(
            "--timeout",
            "timeout_seconds",
            type=Seconds(),
            metavar="SECONDS",
            help=f"How long a call may take; 500ms and 1m are fine too. [default: {DEFAULT_TIMEOUT_SECONDS:g}]",
        ),
        option(
            "--token-file",
            type=Utf8(),
            metavar="FILE",
            help="A bearer token; on a unix socket none is needed. [env: VESTRY_TOKEN_FILE, VESTRY_TOKEN]",
        ),
        option(
            "--no-color",
            is_flag=True,
            default=None,
            help="Print without colours, as NO_COLOR in the environment does.",
        ),
    ]


class Command(click.Command):
    """A command that takes the global options too, and shows examples in its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._examples = examples
        self._own_params = tuple(self.params)
        self.params.extend(global_options(environment=False))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the command's own options, and name the global ones."""
        write_options(formatter, (*self._own_params, self.get_help_option(ctx)), ctx)

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples."""
        write_examples(formatter, self._examples)


class Group(click.Group):
    """A group of commands, which its help lists in the order in which they were added."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options(environment=False))

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the commands as help lists them."""
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, then the options."""
        self.format_commands(ctx, formatter)
        write_options(formatter, (self.get_help_option(ctx),), ctx)


def write_options(
    formatter: click.HelpFormatter, own: Sequence[click.Parameter | None], context: click.Context
) -> None:
    """Write the section of a help page that lists a command's own options, and name the global ones."""
    records = [each.get_help_record(context) for each in own if isinstance(each, click.Option)]
    with formatter.section("Options"):
        formatter.write_dl([record for record in records if record is not None])
    with formatter.section("Global options (explained by vestryctl --help)"):
        formatter.write_text("--address, -o/--output, --timeout, --token-file, --no-color")


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write the section of a help page that shows how the command is typed."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


path_argument = click.argument("path", type=Path(), shell_complete=completing.paths)
optional_path_argument = click.argument("path", type=Path(), default=(), shell_complete=completing.paths)

namespace_option = click.option(
    "-n",
    "--namespace",
    type=Utf8(),
    default="default",
    show_default=True,
    metavar="NAME",
    help="The namespace.",
    shell_complete=completing.namespaces,
)
message_option = click.option(
    "-m", "--message", type=Utf8(), default="", metavar="TEXT", help="Why, for the history; at most 1024 characters."
)
expected_version_option = click.option(
    "--expected-version",
    type=Whole(),
    metavar="N",
    help="Refuse, with exit code 4, unless this is the current version.",
)
layer_option = click.option(
    "--layer",
    type=click.Choice(("default", "environment", "override", "runtime")),
    help="The layer that FILE would replace. [default: FILE is the whole document]",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Don't ask.")
