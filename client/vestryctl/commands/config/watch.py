"""`vestryctl config watch`: every change, as it happens."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from vestry.v1 import common_pb2, config_pb2
from vestryctl import completing, text
from vestryctl.app import App, pass_app
from vestryctl.diffs import by_pointer
from vestryctl.following import follow_config
from vestryctl.options import Command, Utf8
from vestryctl.violations import print_violations
from vestryctl.wire import as_value, enum_name, json_value


@click.command(
    cls=Command,
    examples=[
        "vestryctl config watch",
        "vestryctl config watch billing checkout",
        "vestryctl config watch -o json | jq -r 'select(.update) | .update.version'",
    ],
)
@click.argument("namespaces", nargs=-1, type=Utf8(), metavar="[NAMESPACE]...", shell_complete=completing.namespaces)
@pass_app
def watch(app: App, namespaces: tuple[str, ...]) -> None:
    """Print every change as it happens.

    The state now comes first; Ctrl-C ends it, with exit code 130. When the daemon goes away, the watch waits for it and
    goes on where it was. With -o json each line is an object with resume_token (empty for the state now) and either
    update or rejected, as in Vestry's protocol.
    """
    following = _Following(app)
    for message in follow_config(app, list(namespaces) or ["default"]):
        match message.WhichOneof("event"):
            case "update":
                following.print_update(message)
            case "rejected":
                following.print_rejected(message)


@dataclass
class _Following:
    """One run of `watch`. It remembers what was printed, so that a daemon that repeats itself is not repeated."""

    app: App
    seen: dict[str, config_pb2.ConfigUpdate] = field(default_factory=dict)  # namespace -> the update printed last
    rejections: dict[str, config_pb2.Rejection] = field(default_factory=dict)  # namespace -> why its files are refused

    def print_update(self, message: config_pb2.WatchConfigResponse) -> None:
        """Print a state that is new: a line about the version, and below it what changed in the document."""
        update = message.update
        last = self.seen.get(update.namespace)
        if last is not None and (last.version, last.checksum) == (update.version, update.checksum):
            return
        self.seen[update.namespace] = update
        self.app.out.show_event(as_value(message), lambda: self._print_change(last, update))

    def print_rejected(self, message: config_pb2.WatchConfigResponse) -> None:
        """Print that files were rejected, and why, or that they are in order again; whoever resumes is told again."""
        told = message.rejected.rejection if message.rejected.HasField("rejection") else None
        namespace = message.rejected.namespace
        if self.rejections.get(namespace) == told:
            return
        if told is None:
            del self.rejections[namespace]
        else:
            self.rejections[namespace] = told
        self.app.out.show_event(as_value(message), lambda: self._print_rejection(message.rejected))

    def _print_rejection(self, rejected: config_pb2.ConfigRejected) -> None:
        if not rejected.HasField("rejection"):
            self.app.out.line(f"{rejected.namespace}: the files are in order again", "bold")
            return
        when = text.local_time(rejected.rejection.reject_time)
        self.app.out.line(
            f"{when}  {rejected.namespace}  files rejected, version {rejected.version} stays in force", "bold red"
        )
        print_violations(self.app.out, rejected.rejection.violations)

    def _print_change(self, last: config_pb2.ConfigUpdate | None, update: config_pb2.ConfigUpdate) -> None:
        self.app.out.line(_headline(last, update), "bold")
        if last is not None:
            self.app.out.diff(by_pointer(json_value(last.document), json_value(update.document)), indent="  ")


def _headline(last: config_pb2.ConfigUpdate | None, update: config_pb2.ConfigUpdate) -> str:
    """Return the line about a version: time, namespace, version, author and cause, message."""
    cause = enum_name(common_pb2.Cause.DESCRIPTOR, update.cause) or ""
    by = f"{update.author} ({cause})" if update.author else cause
    missed = update.version - last.version - 1 if last is not None else 0
    notes = [
        text.in_one_line(update.message),
        f"[{missed} version{'s' if missed > 1 else ''} in between]" if missed > 0 else "",
        "[now]" if last is None else "",
    ]
    parts = (text.local_time(update.create_time), update.namespace, f"version {update.version}", by, *notes)
    return "  ".join(part for part in parts if part)
