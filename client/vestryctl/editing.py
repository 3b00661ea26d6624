"""The runtime layer of a layered document in an editor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vestry.errors import Invalid
from vestryctl.app import App
from vestryctl.diffs import same, unified
from vestryctl.drafts import Draft
from vestryctl.failures import Failure, SourceInvalid, place
from vestryctl.layered import LayeredDocument, Outcome, State, Terms, report
from vestryctl.patches import apply_patch
from vestryctl.wire import json_value


def edit_layer(app: App, document: LayeredDocument, message: str, *, is_yaml: bool, ask: bool) -> None:
    """Let a person edit the runtime layer until it is accepted and, with `ask`, confirmed; then put it in force.

    Raises Failure when it is given up; the draft is kept if anything was written.
    """
    editing = _Editing.begin(app, document, message, is_yaml=is_yaml)
    try:
        editing.run(ask=ask)
    except BaseException:
        if editing.draft.was_edited:
            app.err.line(f"vestryctl: the draft is kept in {editing.draft.path}")
        else:
            editing.draft.discard()
        raise
    editing.draft.discard()


@dataclass
class _Editing:
    """One run, from the version that was read to the one that is made."""

    app: App
    document: LayeredDocument
    before: State
    layer: Any
    message: str
    draft: Draft

    @classmethod
    def begin(cls, app: App, document: LayeredDocument, message: str, *, is_yaml: bool) -> _Editing:
        """Read the current version, and write the draft."""
        before = document.read()
        layer = document.runtime_layer(before.version)
        title = f"The runtime layer of {document.name}, version {before.version}."
        draft = Draft.create(document.name, layer, title=title, context=before.value, is_yaml=is_yaml)
        return cls(app, document, before, layer, message, draft)

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
                report(self.app, self.document, self.before, preview, dry_run=True)
                return
            answer = self._confirm(preview) if ask else "y"
            if answer == "y":
                break
            if answer == "n":
                raise Failure("nothing was changed")
            self.draft.reopen()
        report(self.app, self.document, self.before, self._update(dry_run=False), dry_run=False)

    def _preview(self) -> Outcome | None:
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

    def _confirm(self, preview: Outcome) -> str:
        name, old = self.document.name, self.before.value
        new = apply_patch(old, json_value(preview.patch))
        if same(old, new):
            self.app.err.line("The layer changes, but no value in force does.")
        self.app.err.diff(
            unified(old, new, f"{name} version {self.before.version}", f"{name} version {preview.version}")
        )
        return self.app.confirm(f"Put this in force in {name}? (e opens the editor again)", choices="yne")

    def _update(self, *, dry_run: bool) -> Outcome:
        return self.document.replace(self.layer, Terms(self.message, self.before.version, dry_run=dry_run))
