"""What ends a command early, what is said about it, and the exit codes of the program."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from vestry import errors
from vestry.tls import handshake_problem
from vestry.v1 import common_pb2
from vestryctl.text import in_one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


class ExitCode(IntEnum):
    """How the program ends. `vestryctl --help` prints this table."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    CONFLICT = 4
    INTERRUPTED = 130  # 128 + SIGINT, as a shell reports a program that was interrupted
    BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(eq=False)
class Failure(Exception):
    """Ends the command: `message` is one sentence that says what can't be done and what to do next."""

    message: str
    exit_code: ExitCode = ExitCode.REFUSED

    def __str__(self) -> str:
        return self.message


class SourceInvalid(Failure):
    """A text is not a document; `violation` says where and why."""

    def __init__(self, problem: str, *, rule: str, file: str, line: int = 0, column: int = 0) -> None:
        self.violation = common_pb2.Violation(rule=rule, message=problem, file=file, line=line, column=column)
        super().__init__(f"{place(self.violation)} is not a document: {problem}")


def place(violation: common_pb2.Violation) -> str:
    """Return `file:line:column`, as far as it is known."""
    known = (violation.file, violation.line, violation.column) if violation.line else (violation.file,)
    return ":".join(str(part) for part in known if part)


def exit_code(error: errors.VestryError) -> ExitCode:
    """Return how the program ends after `error`."""
    if isinstance(error, errors.VersionMismatch):
        return ExitCode.CONFLICT
    if isinstance(error, errors.Unavailable | errors.DeadlineExceeded):
        return ExitCode.UNAVAILABLE
    if isinstance(error, errors.InvalidTarget):
        return ExitCode.USAGE
    return ExitCode.REFUSED


def explain(error: errors.VestryError, *, address: str) -> str:
    """Say what went wrong and what to do next, and list a document's violations below."""
    if _is_transport_failure(error):
        return _cannot_reach(error, address)
    if isinstance(error, errors.RemoteError) and error.reason == "DOCUMENT_INVALID":
        return "\n".join((_headline(error), *_listed(error)))
    return str(error)


def _headline(error: errors.RemoteError) -> str:
    name = error.metadata.get("name")  # missing when the daemon could not even read the document
    document = f"{error.metadata.get('kind')} {name!r}" if name else "the document"
    return f"{document} would be invalid, so nothing was changed:"


def _listed(error: errors.RemoteError) -> Iterator[str]:
    for each in error.violations:
        yield printable(f"  {each.pointer or '(document)'}: {in_one_line(each.message)} [{each.rule}]")
    count = error.metadata.get("violations", "")
    if count.isdecimal() and int(count) > len(error.violations):
        yield f"  and {int(count) - len(error.violations)} more"


def _is_transport_failure(error: errors.VestryError) -> bool:
    return isinstance(error, errors.Unavailable) and not error.reason


def _cannot_reach(error: errors.VestryError, address: str) -> str:
    """Say why no vestryd answers; gRPC's own words end with what the system said, after much else."""
    cause: grpc.Call | None = error.__cause__  # type: ignore[assignment]  # a stub's RpcError is a Call as well
    details = (cause.details() if cause else "") or str(error)
    problem = "" if address.startswith("unix:") else handshake_problem(details)
    if problem:
        return (
            f"can't reach vestryd at {address}: {problem}. VESTRY_TLS_CA, _CERTIFICATE, _KEY and _SERVER_NAME say how"
        )
    return (
        f"can't reach vestryd at {address}: {details.rpartition(': ')[2]}. Does it run (systemctl status vestryd)? "
        "If it listens elsewhere, give --address or set VESTRY_ADDRESS"
    )
