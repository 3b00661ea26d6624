"""The sources port: the files that documents come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What was found in one slot of a document: `schema`, `default`, `environment` or `override`.

    Exactly one of `content` and `problem` says something: `problem` is a sentence that tells people why the file can't
    be read, without its path. `path` is absolute; `format` is `json`, `yaml` or `toml`, by the file's ending.
    """

    path: str
    format: str
    content: bytes | None
    problem: str = ""


class Sources(Protocol):
    """The files of one kind of document, as they are at this moment. Its methods block on the disk, and none raises."""

    def names(self) -> tuple[str, ...]:
        """Return the documents that have a place in the sources, sorted, whether there are files for them or not.

        Of namespaces, `default` is always one. A document that was there before and isn't named now still has to be
        read: only `read` can tell whether its files are gone or can't be reached.
        """

    def read(self, name: str, /) -> Mapping[str, SourceFile]:
        """Return slot -> the file in it. A slot without a file is left out; a file with a problem is not.

        Files that can't be reached don't pass for deleted ones: when the directory can't be entered, its slots say so.
        """

    def path_of(self, name: str, slot: str, /) -> str:
        """Return where the file of that slot is, or would be."""

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Return (path, problem) for what stands in the place of a document and can't be one, sorted."""
