"""`vestryctl secrets import`: many secrets at once, from env files, the environment or exported files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from vestry.errors import Invalid
from vestry.secrets import check_name
from vestry.v1 import secrets_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.secrets.env_files import parse_env
from vestryctl.commands.secrets.values import MAX_VALUE_BYTES
from vestryctl.failures import ExitCode, Failure
from vestryctl.options import Command, Utf8, dry_run_option, namespace_option
from vestryctl.passphrases import passphrase, passphrase_file_option
from vestryctl.sources import read_bytes
from vestryctl.wire import as_value, enum_name

_BATCH: Final = 30  # secrets in one call (secrets.proto)
_MAX_ENV_BYTES: Final = 4 * 1024 * 1024
_MAX_FILE_BYTES: Final = 256 * 1024
_ENDING: Final = ".enc"
_CONFLICTS: Final = {
    "fail": secrets_pb2.IMPORT_CONFLICT_UNSPECIFIED,
    "skip": secrets_pb2.IMPORT_CONFLICT_SKIP,
    "replace": secrets_pb2.IMPORT_CONFLICT_REPLACE,
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A secret to take in. `origin` is where it stands, for a person."""

    origin: str
    name: str = ""
    value: bytes = field(default=b"", repr=False)
    file: bytes = field(default=b"", repr=False)

    def message(self) -> secrets_pb2.ImportedSecret:
        if self.file:
            return secrets_pb2.ImportedSecret(file=self.file)
        return secrets_pb2.ImportedSecret(name=self.name, value=self.value)


@click.command(
    "import",
    cls=Command,
    examples=[
        "vestryctl secrets import --env-file .env --dry-run",
        "vestryctl secrets import --env-file .env --prefix APP_ -n billing --on-conflict skip",
        "vestryctl secrets import --from-env DB_PASSWORD --from-env API_KEY",
        "vestryctl secrets import backup/ --passphrase-file passphrase.txt",
    ],
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[DIRECTORY|FILE.enc]...")
@click.option(
    "--env-file",
    "env_files",
    multiple=True,
    type=Utf8(),
    metavar="FILE",
    help="Take NAME=VALUE lines (- is standard input).",
)
@click.option(
    "--prefix", type=Utf8(), default="", metavar="TEXT", help="Only names of env files that begin so; without it."
)
@click.option(
    "--from-env", "variables", multiple=True, type=Utf8(), metavar="NAME", help="Take this environment variable."
)
@click.option(
    "--on-conflict",
    type=click.Choice(list(_CONFLICTS)),
    default="fail",
    show_default=True,
    help="What to do when a secret is there with another value.",
)
@passphrase_file_option
@dry_run_option
@namespace_option
@pass_app
def import_(
    app: App,
    files: tuple[Path, ...],
    env_files: tuple[str, ...],
    prefix: str,
    variables: tuple[str, ...],
    on_conflict: str,
    passphrase_file: str | None,
    namespace: str,
    *,
    dry_run: bool,
) -> None:
    """Take many secrets in.

    They come from env files, from this program's environment, or from files that 'vestryctl secrets export' wrote. Names
    stay as they are. Everything is read and checked before anything is sent; then 30 secrets at a time are taken in, all
    of them or none. One that has the same value already stays as it is.
    """
    found = [*_from_env_files(env_files, prefix), *_from_environment(variables), *_from_exported(files)]
    if not found:
        raise Failure("there is nothing to import: name files, --env-file or --from-env", ExitCode.USAGE)
    _refuse_doubles(found)
    opening = passphrase(passphrase_file, confirm=False) if any(each.file for each in found) else ""
    results: list[secrets_pb2.ImportResult] = []
    for start in range(0, len(found), _BATCH):
        request = secrets_pb2.ImportSecretsRequest(
            namespace=namespace,
            secrets=[each.message() for each in found[start : start + _BATCH]],
            passphrase=opening,
            conflict=_CONFLICTS[on_conflict],
            dry_run=dry_run,
        )
        try:
            results += app.daemon.call(app.daemon.secrets.ImportSecrets, request).results
        except BaseException:
            if results and not dry_run:
                app.err.line(f"vestryctl: the first {len(results)} of {len(found)} secrets are taken in")
            raise
    app.out.show(
        {"results": [as_value(each) for each in results], "dry_run": dry_run},
        lambda: _print(app, results, dry_run=dry_run),
    )


def _from_env_files(files: Sequence[str], prefix: str) -> Iterator[_Found]:
    for file in files:
        for variable in parse_env(read_bytes(file, limit=_MAX_ENV_BYTES), file):
            if variable.name.startswith(prefix):
                origin = f"{file}:{variable.line}"
                yield _checked(origin, variable.name.removeprefix(prefix), variable.value.encode())


def _from_environment(variables: Sequence[str]) -> Iterator[_Found]:
    for name in variables:
        value = os.environb.get(name.encode())
        if value is None:
            raise Failure(f"the environment has no {name}")
        yield _checked(f"${name}", name, value)


def _from_exported(paths: Sequence[Path]) -> Iterator[_Found]:
    for path in paths:
        files = sorted(path.glob(f"*{_ENDING}")) if path.is_dir() else [path]
        if not files:
            raise Failure(f"{path} has no *{_ENDING} files")
        for file in files:
            content = read_bytes(str(file), limit=_MAX_FILE_BYTES)
            if not content:
                raise Failure(f"{file} is empty")
            yield _Found(str(file), file=content)


def _checked(origin: str, name: str, value: bytes) -> _Found:
    try:
        check_name(name)
    except Invalid as error:
        raise Failure(f"{origin}: {error}") from None
    if not 0 < len(value) <= MAX_VALUE_BYTES:
        problem = "is empty" if not value else f"has more than {MAX_VALUE_BYTES} bytes"
        raise Failure(f"{origin}: the value of {name} {problem}")
    return _Found(origin, name, value)


def _refuse_doubles(found: Sequence[_Found]) -> None:
    origins: dict[str, str] = {}  # name -> where it stands
    for each in found:
        if each.name and each.name in origins:
            raise Failure(f"{each.origin}: {each.name} is given at {origins[each.name]} already")
        origins[each.name] = each.origin


def _print(app: App, results: Sequence[secrets_pb2.ImportResult], *, dry_run: bool) -> None:
    outcomes = [enum_name(secrets_pb2.ImportOutcome.DESCRIPTOR, each.outcome) or "" for each in results]
    rows = ((each.name, str(each.version), outcome) for each, outcome in zip(results, outcomes, strict=True))
    app.out.table(("NAME", "VERSION", "OUTCOME"), rows, fold=("NAME",))
    if dry_run:
        app.out.line("nothing was changed")
