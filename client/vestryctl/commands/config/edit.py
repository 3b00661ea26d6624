"""`vestryctl config edit`: the runtime layer in an editor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from vestry.errors import Invalid
from vestry.v1 import common_pb2, config_pb2
from vestryctl.app import App, pass_app
from vestryctl.commands.config.changes import current, report
from vestryctl.commands.config.versions import version_of
from vestryctl.diffs import same, unified
from vestryctl.documents import canonical
from vestryctl.drafts import Draft
from vestryctl.failures import Failure, SourceInvalid, place
from vestryctl.options import Command, message_option, namespace_option, yes_option
from vestryctl.patches import apply_patch
from vestryctl.wire import json_value


@click.command(
    cls=Command,
    examples=[
        "vestryctl config edit",
        "EDITOR='code --wait' vestryctl config edit -n billing --yaml -m 'winter limits'",
    ],
)
@namespace_option
@click.option("--yaml", "is_yaml", is_flag=True, help="Edit YAML, with the document in force beside it as a comment.")
@message_option
@yes_option
@pass_app
def edit(app: App, namespace: str, message: str, *, is_yaml: bool, yes: bool) -> None:
    """Edit the runtime layer in $VISUAL or $EDITOR.

    The result is checked, and the editor opens again with what is wrong. Then the change of the document in force is
    shown, and confirmed by you. Nothing is changed before that, nor if somebody else makes a change meanwhile (exit
    code 4); what was written is kept in a file then. In the layer, null deletes what the other layers say.
    """
    editing = _Editing.begin(app, namespace, message, is_yaml=is_yaml)
    try:
        editing.run(ask=not yes)
    except BaseException:
        if editing.draft.was_edited:
            app.err.line(f"vestryctl: the draft is kept in {editing.draft.path}")
        else:
            editing.draft.discard()
        raise
    editing.draft.discard()


@dataclass
class _Editing:
    """One run of `edit`, from the version that was read to the one that is made."""

    app: App
    before: config_pb2.GetConfigResponse
    layer: Any
    message: str
    draft: Draft

    @classmethod
    def begin(cls, app: App, namespace: str, message: str, *, is_yaml: bool) -> _Editing:
        """Read the current version, and write the draft."""
        before = current(app, namespace)
        layers = {each.layer: json_value(each.document) for each in version_of(app, namespace, before.version).layers}
        layer = layers.get(common_pb2.LAYER_RUNTIME, {})
        title = f"The runtime layer of {namespace}, version {before.version}."
        draft = Draft.create(namespace, layer, title=title, context=json_value(before.value), is_yaml=is_yaml)
        return cls(app, before, layer, message, draft)

    def run(self, *, ask: bool) -> None:
        """Edit until the layer is accepted and confirmed, then put it in force. Raises Failure when it is given up."""
        while True:
            if not self.draft.edit():
                if self.draft.problems:
                    raise Failure("the draft was left as it was, so nothing was changed")
                self.app.err.line("The layer was left as it was; nothing was changed.")
                return
            preview = self._preview()
            if preview is None:
                continue
            if not preview.changed:
                report(self.app, self.before, preview, dry_run=True)
                return
            answer = self._confirm(preview) if ask else "y"
            if answer == "y":
                break
            if answer == "n":
                raise Failure("nothing was changed")
            self.draft.reopen()
        report(self.app, self.before, self._update(dry_run=False), dry_run=False)

    def _preview(self) -> config_pb2.UpdateConfigResponse | None:
        """Try the draft out; None when it is no good, and the draft says why."""
        try:
            self.layer = self.draft.read()
            return self._update(dry_run=True)
        except SourceInvalid as error:
            where = place(error.violation).removeprefix(str(self.draft.path)).removeprefix(":")
            self.draft.reopen([f"{f'line {where}: ' if where else ''}{error.violation.message}"])
        except Invalid as error:
            if not error.violations:
                raise
            self.draft.reopen(
                [f"{each.pointer or '(document)'}: {each.message} [{each.rule}]" for each in error.violations]
            )
        return None

    def _confirm(self, preview: config_pb2.UpdateConfigResponse) -> str:
        name, old = self.before.namespace, json_value(self.before.value)
        new = apply_patch(old, json_value(preview.patch))
        if same(old, new):
            self.app.err.line("The layer changes, but no value in force does.")
        self.app.err.diff(
            unified(old, new, f"{name} version {self.before.version}", f"{name} version {preview.version}")
        )
        return self.app.confirm(f"Put this in force in {name}? (e opens the editor again)", choices="yne")

    def _update(self, *, dry_run: bool) -> config_pb2.UpdateConfigResponse:
        request = config_pb2.UpdateConfigRequest(
            namespace=self.before.namespace,
            replace=canonical(self.layer),
            expected_version=self.before.version,
            dry_run=dry_run,
            message=self.message,
        )
        return self.app.daemon.call(self.app.daemon.config.UpdateConfig, request)
