"""The sources port: the files that documents come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What was found in one slot of a namespace: `schema`, `default`, `environment` or `override`.

    Exactly one of `content` and `problem` says something: `problem` is a sentence that tells people why the file can't
    be read, without its path. `path` is absolute; `format` is `json`, `yaml` or `toml`, by the file's ending.
    """

    path: str
    format: str
    content: bytes | None
    problem: str = ""


class Sources(Protocol):
    """Files as they are at this moment. Its methods block on the disk, and none of them raises."""

    def names(self) -> tuple[str, ...]:
        """Return the namespaces that have a place in the sources, sorted; `default` is always one of them.

        A namespace that was there before and isn't named now still has to be read: only `read` can tell whether its
        files are gone or can't be reached.
        """

    def read(self, namespace: str) -> Mapping[str, SourceFile]:
        """Return slot -> the file in it. A slot without a file is left out; a file with a problem is not.

        Files that can't be reached don't pass for deleted ones: when the directory can't be entered, its slots say so.
        """

    def path_of(self, namespace: str, slot: str) -> str:
        """Return where the file of that slot is, or would be."""

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Return (path, problem) for what stands in the place of a namespace and can't be one, sorted."""
