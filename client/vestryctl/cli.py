"""The program `vestryctl`: its commands, and the edge at which whatever ends them becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from vestry import __version__
from vestry.errors import VestryError
from vestryctl.app import App
from vestryctl.commands.access import access
from vestryctl.commands.audit import audit
from vestryctl.commands.backup import backup
from vestryctl.commands.completion import COMPLETION_VARIABLE, completion
from vestryctl.commands.config import config
from vestryctl.commands.pki import pki
from vestryctl.commands.render import render
from vestryctl.commands.run import run
from vestryctl.commands.seal import seal, unseal
from vestryctl.commands.secrets import secrets
from vestryctl.commands.slots import slots
from vestryctl.commands.status import status
from vestryctl.commands.token import token
from vestryctl.commands.version import version
from vestryctl.commands.whoami import whoami
from vestryctl.failures import ExitCode, Failure, exit_code, explain
from vestryctl.options import Group, global_options, write_examples
from vestryctl.text import printable

PROGRAM = "vestryctl"

_EXIT_CODES = (
    ("0", "Done."),
    ("1", "Refused: invalid, not found, not allowed, not confirmed; or problems were found."),
    ("2", "The command line is wrong."),
    ("3", "No answer now: vestryd is unreachable, shutting down, too slow, or can't use its store. Try again."),
    ("4", "Conflict: the document has changed since it was read."),
    ("130", "Interrupted."),
)
_EXAMPLES = (
    "vestryctl config get server.port",
    "vestryctl config set server.port 8443 -m 'behind the new proxy'",
    "vestryctl config watch billing -o json",
    "vestryctl secrets put db-password",
    "vestryctl run --secret DB_PASSWORD=db-password -- ./server",
    "vestryctl --address 127.0.0.1:8378 status",
)


class Program(Group):
    """The outermost group. Its `main` is the edge: no exception gets past it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [each for each in self.params if each.name == "version"]
        self.params[:0] = global_options(environment=True)

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        """Run the program, and exit with one of ExitCode."""
        sys.exit(_run(self, sys.argv[1:] if args is None else args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, then the options, the global ones in full."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Explain the exit codes, and show examples."""
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)
        write_examples(formatter, _EXAMPLES)


@click.group(PROGRAM, cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s", help="Show the version.")
@click.pass_context
def cli(context: click.Context) -> None:
    """Look after a Vestry daemon, and the configuration and secrets that it serves.

    Tables and colours are for terminals; into a pipe goes plain text, and with -o json or -o yaml what programs read:
    objects with the field names of Vestry's protocol, times in RFC 3339, documents as they are.
    """
    context.call_on_close(context.ensure_object(App).close)


for _command in (
    config,
    secrets,
    run,
    render,
    seal,
    unseal,
    slots,
    access,
    token,
    whoami,
    audit,
    backup,
    pki,
    status,
    version,
    completion,
):
    cli.add_command(_command)


def _run(program: Program, arguments: Sequence[str]) -> int:
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(program, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    app = App()
    try:
        with program.make_context(PROGRAM, list(arguments), obj=app) as context:
            program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the program's edge
        message, code = _ending(error, app)
        if message:
            click.echo(printable(f"{PROGRAM}: {message}"), err=True)
        return code
    return ExitCode.OK


def _ending(error: BaseException, app: App) -> tuple[str, ExitCode]:
    """Return what to say about `error`, nothing if it speaks for itself, and how the program ends."""
    message = ""
    match error:
        case click.Abort() | KeyboardInterrupt():
            code = ExitCode.INTERRUPTED
        case BrokenPipeError():
            _discard_output()
            code = ExitCode.BROKEN_PIPE
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            code = ExitCode.USAGE
        case click.UsageError():
            message, code = _usage(error), ExitCode.USAGE
        case Failure():
            message, code = error.message, error.exit_code
        case VestryError():
            message, code = explain(error, address=app.named_address), exit_code(error)
        case OSError():  # e.g. a full disk behind standard output
            _discard_output()
            message, code = f"{error.filename or 'standard output'}: {error.strerror}", ExitCode.REFUSED
        case _:
            if sys.flags.dev_mode:
                raise error
            message = (
                f"this is a defect of vestryctl, please report it: {type(error).__name__}: {error}. "
                "'python -X dev -m vestryctl' shows where"
            )
            code = ExitCode.REFUSED
    return message, code


def _usage(error: click.UsageError) -> str:
    """Return what is wrong with the command line, and where its help is."""
    message = error.format_message()
    end = "" if message.endswith((".", "?")) else "."
    where = error.ctx.command_path if error.ctx else PROGRAM
    return f"{message[:1].lower()}{message[1:]}{end} Try '{where} --help'"


def _discard_output() -> None:
    """Let what can't be written go nowhere, so that the interpreter doesn't fail on it once more as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
