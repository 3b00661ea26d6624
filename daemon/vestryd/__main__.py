"""vestryd: argv → settings → run → exit code."""

from __future__ import annotations

import os

from vestryd.transports.grpc_environment import ONLY_TLS_1_3, QUIET

for _name, _value in (QUIET, ONLY_TLS_1_3):  # before gRPC is loaded, below
    os.environ.setdefault(_name, _value)

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from vestry._version import __version__
from vestryd import life
from vestryd.domain.errors import AddressUnusable, RecordDamaged, SettingsInvalid, StoreUnavailable, StoreUnusable
from vestryd.host.logs import configure
from vestryd.host.sdnotify import Notifier
from vestryd.recovery import recover
from vestryd.settings import Settings, load
from vestryd.stores.restore import restore
from vestryd.transports.tls_files import TlsUnusable

OK, FAILED, UNUSABLE, CONFIG = 0, 1, 69, 78  # the last two after sysexits(3): EX_UNAVAILABLE, EX_CONFIG

OVERRIDES = (  # the settings that have a flag: key, metavar, help
    ("environment", "NAME", "which environment's layer to fold in"),
    ("state_directory", "DIR", "where the store is kept"),
    ("config.directory", "DIR", "where the configuration tree is"),
    ("listen.unix", "PATH", "the unix socket to listen on; '' for none"),
    ("listen.tcp", "ADDRESS", "the TCP address to listen on, loopback only; '' for none"),
    ("log.level", "LEVEL", "debug, info, warning or error"),
)

EXIT_CODES = """\
exit codes:
  0   stopped when asked to, or nothing was found to be wrong
  1   failed: the log says why
  2   the command line is wrong
  69  the store or an address can't be used: it is taken, unreadable or damaged
  78  the settings or the configuration tree are wrong
  143 a second SIGTERM came before the first had been dealt with (130: SIGINT)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon, or do what a flag asks for instead, and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _do(arguments, load(arguments.settings, environ=os.environ, overrides=_overrides(arguments)))
    except SettingsInvalid as error:
        return _complain(error.problems, CONFIG)
    except TlsUnusable as error:
        return _complain([str(error)], CONFIG)
    except (StoreUnusable, StoreUnavailable, RecordDamaged, AddressUnusable) as error:
        return _complain([str(error)], UNUSABLE)


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.check:
        return _check(settings)
    if arguments.restore:
        return _restore(arguments.restore, settings)
    if arguments.recover:
        return _recover(settings)
    return _serve(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vestryd",
        description="Keeps a fleet's configuration, and serves it over gRPC. Settings come from the command line, "
        "else from VESTRY_… variables, else from the settings file.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the settings file; default: none")
    for key, metavar, what in OVERRIDES:
        parser.add_argument("--" + key.replace(".", "-").replace("_", "-"), dest=key, metavar=metavar, help=what)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="check the settings and the configuration tree, and exit")
    instead.add_argument("--restore", type=Path, metavar="FILE", help="replace the store by this backup, and exit")
    instead.add_argument("--recover", action="store_true", help="put the built-in access policy in force, and exit")
    instead.add_argument("--version", action="version", version=f"vestryd {__version__}")
    return parser


def _overrides(arguments: argparse.Namespace) -> dict[str, object]:
    given = {key: getattr(arguments, key) for key, _, _ in OVERRIDES}
    if given["listen.unix"]:
        given["listen.unix"] = str(Path(given["listen.unix"]).absolute())
    return given


def _serve(settings: Settings) -> int:
    configure(level=settings.log.level, format=settings.log.format)
    _make_state_directory(settings)
    uvloop.run(life.serve(settings, Notifier(os.environ)))  # a fifth less per call than asyncio's own (make bench)
    return OK


def _make_state_directory(settings: Settings) -> None:
    directory = settings.state_directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the state directory {directory} can't be made: {error.strerror}"
        raise StoreUnusable(str(settings.store_path), problem, "Name another with --state-directory") from error


def _check(settings: Settings) -> int:
    found, has_environment = asyncio.run(life.check(settings))
    if found:
        return _complain(found, CONFIG)
    note = "" if has_environment else f" (note: no namespace has a file {settings.environment}.json, .yaml or .toml)"
    print(f"{settings.config.directory} is fine for the environment {settings.environment}{note}")  # noqa: T201 - for who typed the command
    return OK


def _restore(backup: Path, settings: Settings) -> int:
    aside = restore(backup, settings.store_path, now=datetime.now(UTC))
    print(f"restored {settings.store_path}" + (f"; what it replaced is kept as {aside}" if aside else ""))  # noqa: T201 - for who typed the command
    return OK


def _recover(settings: Settings) -> int:
    configure(level=settings.log.level, format=settings.log.format)
    print("\n".join(asyncio.run(recover(settings)).told()))  # noqa: T201 - for who typed the command
    return OK


def _complain(problems: Sequence[str], code: int) -> int:
    for problem in problems:
        print(f"vestryd: {problem}", file=sys.stderr)  # noqa: T201 - for who typed the command
    return code


if __name__ == "__main__":
    sys.exit(main())
