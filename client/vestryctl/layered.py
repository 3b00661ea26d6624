"""Layered documents, whichever noun they are: what commands do to all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from vestry.v1 import access_pb2, common_pb2, config_pb2
from vestryctl import text
from vestryctl.app import App
from vestryctl.diffs import by_pointer, unified
from vestryctl.failures import Failure
from vestryctl.patches import apply_patch
from vestryctl.wire import as_value, enum_name, json_value, layer_name

PAGE_SIZE = 100

Outcome = (
    config_pb2.UpdateConfigResponse
    | config_pb2.RollbackConfigResponse
    | access_pb2.UpdatePolicyResponse
    | access_pb2.RollbackPolicyResponse
)
VersionFacts = config_pb2.ConfigVersion | access_pb2.PolicyVersion


@dataclass(frozen=True)
class State:
    """A document as it was read."""

    version: int
    value: Any


@dataclass(frozen=True)
class Terms:
    """What a change says beside the change itself."""

    message: str = ""
    expected_version: int | None = None
    dry_run: bool = False


class LayeredDocument(Protocol):
    """A layered document of the daemon. Its methods raise the errors of vestry.errors."""

    @property
    def name(self) -> str:
        """What people call it."""

    def read(self, version: int = 0) -> State:
        """Read it as it is in force, or was at a version."""

    def runtime_layer(self, version: int) -> Any:
        """Read its runtime layer as of a version."""

    def patch(self, merge_patch: Any, terms: Terms) -> Outcome:
        """Merge a patch into its runtime layer."""

    def replace(self, layer: Any, terms: Terms) -> Outcome:
        """Replace its runtime layer."""

    def roll_back(self, version: int, terms: Terms) -> Outcome:
        """Take the layers of an earlier version."""


def patch(app: App, document: LayeredDocument, before: State, merge_patch: Any, terms: Terms) -> None:
    """Merge a patch into the runtime layer of what was read as `before`, and print what that did."""
    report(app, document, before, document.patch(merge_patch, terms), dry_run=terms.dry_run)


def roll_back(app: App, document: LayeredDocument, version: int, *, message: str, dry_run: bool, yes: bool) -> None:
    """Go back to an earlier version's layers once the person has seen what that changes, and print what it did."""
    before = document.read()
    preview = document.roll_back(version, Terms(message, before.version, dry_run=True))
    if dry_run or not preview.changed:
        report(app, document, before, preview, dry_run=dry_run)
        return
    if not yes:
        new = apply_patch(before.value, json_value(preview.patch))
        names = (_label(document, before.version), f"{_label(document, preview.version)}, as {version}")
        app.err.diff(unified(before.value, new, *names))
        if app.confirm(f"Roll {document.name} back to version {version}?") != "y":
            raise Failure("nothing was changed")
    answer = document.roll_back(version, Terms(message, before.version))
    report(app, document, before, answer, dry_run=False)


def report(app: App, document: LayeredDocument, before: State, answer: Outcome, *, dry_run: bool) -> None:
    """Print what a change of the document `before` did, or would do."""
    app.out.show(as_value(answer), lambda: _print(app, document, before, answer, dry_run=dry_run))


def show_diff(app: App, name: str, answer: Any, read: Callable[[int], Any], *, pointers: bool) -> None:
    """Print the difference of two versions that `answer` names, whose contents `read` returns."""

    def print_diff() -> None:
        old, new = read(answer.from_version), read(answer.to_version)
        names = (f"{name} version {answer.from_version}", f"{name} version {answer.to_version}")
        app.out.diff(by_pointer(old, new) if pointers else unified(old, new, *names))

    app.out.show(as_value(answer), print_diff)


def show_history(app: App, versions: Iterable[VersionFacts], limit: int) -> None:
    """Print the first versions as a table."""
    found = list(islice(versions, limit))
    columns = ("VERSION", "TIME", "AUTHOR", "CAUSE", "LAYERS", "MESSAGE")
    app.out.show(
        {"versions": [as_value(each) for each in found]},
        lambda: app.out.table(columns, (_history_row(each) for each in found), fold=("AUTHOR", "LAYERS", "MESSAGE")),
    )


def cause(version: VersionFacts) -> str:
    """Return what caused a version."""
    name = enum_name(common_pb2.Cause.DESCRIPTOR, version.cause) or text.NOTHING
    return f"{name} to {version.rollback_of}" if version.rollback_of else name


def _history_row(version: VersionFacts) -> tuple[str, ...]:
    return (
        str(version.version),
        text.local_time(version.create_time),
        version.author,
        cause(version),
        ", ".join(layer_name(layer) for layer in version.changed_layers) or text.NOTHING,
        text.in_one_line(version.message),
    )


def _print(app: App, document: LayeredDocument, before: State, answer: Outcome, *, dry_run: bool) -> None:
    name = document.name
    if not answer.changed:
        app.out.line(f"{name}: nothing to change, version {answer.version} says so already")
        return
    # What the version changed is what we read, unless somebody came in between.
    old = (before if before.version == answer.version - 1 else document.read(answer.version - 1)).value
    app.out.diff(by_pointer(old, apply_patch(old, json_value(answer.patch))))
    unseen = "" if json_value(answer.patch) else ", though no value in force differs"
    if dry_run:
        app.out.line(f"{name}: this would be version {answer.version}{unseen}; nothing was changed")
    else:
        app.out.line(f"{name}: version {answer.version} is in force{unseen}")


def _label(document: LayeredDocument, version: int) -> str:
    return f"{document.name} version {version}"
