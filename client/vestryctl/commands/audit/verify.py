"""`vestryctl audit verify`: is the log what was written?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vestryctl.app import App, pass_app
from vestryctl.failures import ExitCode
from vestryctl.options import Command, Whole

if TYPE_CHECKING:
    from vestry.audit import Problem, Verdict

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    cls=Command,
    examples=[
        "vestryctl audit verify",
        "vestryctl audit verify --public-key signing.pub --verification-key verification.key",
        "vestryctl audit verify /var/backups/vestry-audit --public-key signing.pub --anchor checkpoint.json",
    ],
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--public-key", type=_FILE, help="The key that signs the checkpoints, signing.pub, from a safe place.")
@click.option("--verification-key", type=_FILE, help="The key that the MACs begin with, verification.key.")
@click.option("--anchor", type=_FILE, help="A line of checkpoints.jsonl that was kept elsewhere.")
@click.option("--archived", type=Whole(), default=0, metavar="N", help="Records up to N were moved to an archive.")
@click.pass_context
@pass_app
def verify(
    app: App,
    context: click.Context,
    directory: Path | None,
    public_key: Path | None,
    verification_key: Path | None,
    anchor: Path | None,
    archived: int,
) -> None:
    """Check that nobody has changed the log.

    Without DIRECTORY the daemon's log is fetched and checked, here; its newest checkpoint is then remembered, and a log that
    lacks what was remembered went backwards. With DIRECTORY, an exported log or the daemon's own directory is checked. The
    exit code is 0 when all is well, and 1 when it is not: the first record that is wrong is named.
    """
    from vestryctl.commands.audit import checking  # noqa: PLC0415 - its docstring says why

    evidence = checking.Evidence.gather(
        public_key=public_key, verification_key=verification_key, anchor=anchor, archived=archived
    )
    if directory is None:
        verdict = checking.verify_daemon(app, evidence)
    else:
        verdict = checking.verify_directory(app, directory, evidence)
    app.out.show(_as_value(verdict), lambda: _print(app, verdict))
    if not verdict.is_intact:
        context.exit(ExitCode.REFUSED)


def _as_value(verdict: Verdict) -> dict[str, Any]:
    problem, checkpoint = verdict.problem, verdict.checkpoint
    return {
        "intact": verdict.is_intact,
        "records": verdict.records,
        "last_sequence": verdict.last_sequence,
        "unsealed": verdict.unsealed,
        "macs_checked": verdict.has_checked_macs,
        "torn": verdict.is_torn,
        "checkpoint": checkpoint and {"number": checkpoint.number, "size": checkpoint.size, "hash": checkpoint.hash},
        "problem": problem
        and {
            "kind": problem.kind.value,
            "file": problem.file,
            "line": problem.line,
            "sequence": problem.sequence,
            "message": problem.message,
        },
    }


def _print(app: App, verdict: Verdict) -> None:
    if verdict.problem is not None:
        app.out.line(f"THE LOG IS NOT WHAT WAS WRITTEN. {verdict.problem}", "bold red")
        for note in _limits(verdict, verdict.problem):
            app.out.line(f"  {note}")
        return
    app.out.line(f"{verdict.records} records, up to {verdict.last_sequence}, are what was written", "bold")
    for note in _notes(verdict):
        app.out.line(f"  {note}")


def _limits(verdict: Verdict, problem: Problem) -> Iterator[str]:
    """Say where the change must be sought, and what it leaves untouched."""
    if problem.kind == "chain" and problem.sequence > 1:
        yield f"record {problem.sequence - 1} was changed, or where record {problem.sequence} refers to it"
    if verdict.checkpoint is not None:
        yield f"the records up to {verdict.checkpoint.size} are what was written: a checkpoint vouches for them"


def _notes(verdict: Verdict) -> Iterator[str]:
    if verdict.checkpoint is not None:
        when = verdict.checkpoint.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        yield f"the newest checkpoint is number {verdict.checkpoint.number}, of {when}, at {verdict.checkpoint.size}"
    if verdict.unsealed:
        yield f"no checkpoint covers the last {verdict.unsealed} yet"
    if not verdict.has_checked_macs:
        yield "the MACs were not checked: that takes --verification-key"
    if verdict.is_torn:
        yield "the last line is incomplete: it is being written, or a crash broke it off"
