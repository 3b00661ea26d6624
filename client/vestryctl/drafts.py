"""A document that a person edits in an editor of their choice."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestryctl.diffs import pretty
from vestryctl.documents import parse_document, read_text
from vestryctl.failures import Failure
from vestryctl.text import in_one_line, printable
from vestryctl.yaml_documents import dump_yaml

_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_SAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass
class Draft:
    """A file that holds a document under a few lines of comment. It lives until `discard`.

    Whole lines that begin with # are comments, in JSON too: no line of pretty JSON begins like that.
    """

    path: Path
    title: str
    context: str
    problems: Sequence[str] = ()
    was_edited: bool = False

    @classmethod
    def create(cls, name: str, document: Any, *, title: str, context: Any, is_yaml: bool) -> Draft:
        """Write a draft that only its owner can read; YAML shows `context` as a comment, too."""
        text, suffix = (dump_yaml(document), ".yaml") if is_yaml else (pretty(document) + "\n", ".json")
        try:
            descriptor, path = tempfile.mkstemp(
                prefix=f"vestryctl-{_SAFE_NAME.sub('_', name)}-", suffix=suffix, text=True
            )
            os.close(descriptor)
        except OSError as error:
            raise Failure(f"can't write a draft to {tempfile.gettempdir()}: {error.strerror}") from error
        draft = cls(Path(path), title, dump_yaml(context) if is_yaml else "")
        draft._write(text)
        return draft

    def edit(self) -> bool:
        """Open the editor, and tell whether the document differs from what it was before, comments aside.

        Raises Failure when the editor can't be run, or reports failure.
        """
        before = self._without_comments()
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            code = subprocess.run([*shlex.split(editor), str(self.path)], check=False).returncode  # noqa: S603 - the user's own
        except (OSError, ValueError) as error:
            raise Failure(f"can't run the editor {editor!r}: set VISUAL or EDITOR ({error})") from error
        if code:
            raise Failure(f"the editor {editor!r} ended with status {code}, so nothing was changed")
        changed = self._without_comments() != before
        self.was_edited |= changed
        return changed

    def read(self) -> Any:
        """Return the document. Raises SourceInvalid, whose line is the file's."""
        return parse_document(self._without_comments(), str(self.path), suffix=self.path.suffix)

    def reopen(self, problems: Sequence[str] = ()) -> None:
        """Put `problems` in the place of the comments, for the next `edit`."""
        self.problems = problems
        self._write(_COMMENT.sub("", self._text()).strip("\n") + "\n")

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _write(self, document: str) -> None:
        head = [self.title, "Lines that begin with # are ignored. An unchanged file changes nothing."]
        if self.problems:
            head += ["", "This can't be put in force yet:", *(f"  {in_one_line(problem)}" for problem in self.problems)]
        tail = ["", "In force now, all layers folded:", *self.context.splitlines()] if self.context else []
        self.path.write_text(f"{_commented(head)}{document}{_commented(tail)}", encoding="utf-8")

    def _text(self) -> str:
        return read_text(str(self.path))

    def _without_comments(self) -> str:
        """Return the text with its comments blanked, so that the numbers of its lines stay."""
        return _COMMENT.sub("", self._text())


def _commented(lines: Sequence[str]) -> str:
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)
