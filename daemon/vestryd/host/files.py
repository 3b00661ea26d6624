"""A configuration tree on disk, as `domain.sources.Sources`: the namespaces in it, and the access policy beside them.

The files `schema`, `default`, `<environment>` and `override` of the tree's root are the namespace `default`; those in
`namespaces/<name>/` are the namespace `<name>`. The root's files `access`, `access.<environment>` and `access.override` are
the policy. The ending tells the format. Nothing else in the tree is read.

A writer that saves in place can be met half-way. A file that changes while it is read is read again; one that a writer
has truncated and not filled yet reads as empty. The watch hears the writer close the file, so what was read half-way is
read again a moment later. Only a file that is written aside and renamed into place is never met half-way at all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from vestryd.domain.access import NAME
from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import MAX_DOCUMENT_BYTES
from vestryd.domain.names import check_namespace
from vestryd.domain.sources import SourceFile

FORMATS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}  # a file's ending -> its format
READ_ATTEMPTS = 3  # a writer that is met three times running is met again when it closes the file


class ConfigTree:
    """The tree below `root` as one environment sees it. It holds nothing: each call looks at the disk anew."""

    def __init__(self, root: Path, environment: str) -> None:
        self._root = root.absolute()
        self._namespaces = self._root / "namespaces"
        self._stems = {"schema": "schema", "default": "default", "environment": environment, "override": "override"}

    def names(self) -> tuple[str, ...]:
        """Return `default` and the directories in `namespaces` that can be namespaces, sorted."""
        try:
            found = [name for name in self._directories() if not _namespace_problem(name)]
        except OSError:
            found = []
        return tuple(sorted(["default", *found]))

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Return (path, problem) for each directory in `namespaces` that can't be one, or for `namespaces` itself."""
        try:
            names = self._directories()
        except OSError as error:
            return ((str(self._namespaces), _reason(error)),)
        found = [(str(self._namespaces / name), _namespace_problem(name)) for name in names]
        return tuple(sorted((path, problem) for path, problem in found if problem))

    def read(self, namespace: str) -> Mapping[str, SourceFile]:
        """Return slot -> the file in it. A tree whose root is missing is a problem, not an empty tree."""
        return _read(self._root, {slot: self._candidates(namespace, slot) for slot in self._stems})

    def path_of(self, namespace: str, slot: str) -> str:
        """Return where the file of that slot is, or would be: then with the ending `.json`."""
        return _place(self._candidates(namespace, slot))

    def _directories(self) -> list[str]:
        """List the directories in `namespaces`, hidden ones left out: Kubernetes keeps its links' targets in those."""
        try:
            entries = list(self._namespaces.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]

    def _candidates(self, namespace: str, slot: str) -> list[Path]:
        directory = self._root if namespace == "default" else self._namespaces / namespace
        return _candidates(directory, self._stems[slot])


class PolicyFiles:
    """The access policy's files in the tree at `root`, as one environment sees them. It holds nothing."""

    def __init__(self, root: Path, environment: str) -> None:
        self._root = root.absolute()
        stems = {"default": "access", "environment": f"access.{environment}", "override": "access.override"}
        self._candidates = {slot: _candidates(self._root, stem) for slot, stem in stems.items()}

    def names(self) -> tuple[str, ...]:
        """Return the name of the one policy."""
        return (NAME,)

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Return nothing: what isn't one of the policy's files is none of its business."""
        return ()

    def read(self, _name: str) -> Mapping[str, SourceFile]:
        """Return slot -> the file in it. A tree whose root is missing is a problem, not a tree without a policy."""
        return _read(self._root, self._candidates)

    def path_of(self, _name: str, slot: str) -> str:
        """Return where the file of that slot is, or would be: then with the ending `.json`."""
        return _place(self._candidates[slot])


def _candidates(directory: Path, stem: str) -> list[Path]:
    """Return the files that may fill a slot."""
    return [directory / f"{stem}{ending}" for ending in FORMATS]


def _place(candidates: Sequence[Path]) -> str:
    return str(next((path for path in candidates if os.path.lexists(path)), candidates[0]))


def _read(root: Path, candidates: Mapping[str, Sequence[Path]]) -> dict[str, SourceFile]:
    try:
        root.stat()
    except OSError as error:
        return {"default": SourceFile(str(root), "json", None, _reason(error))}
    found = {slot: _find(paths) for slot, paths in candidates.items()}
    return {slot: file for slot, file in found.items() if file}


def _find(candidates: Sequence[Path]) -> SourceFile | None:
    present: list[Path] = []
    for path in candidates:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return _unusable(path, _reason(error))
        present.append(path)
    if len(present) > 1:
        return _unusable(present[0], f"{' and '.join(path.name for path in present)} are both there: keep one")
    return _load(present[0]) if present else None


def _namespace_problem(name: str) -> str:
    if name == "default":
        return "the namespace default is the tree itself: move its files up into the tree's root"
    try:
        check_namespace(name)
    except InvalidField as error:
        return error.problem
    return ""


def _load(path: Path) -> SourceFile | None:
    """Read the file, or tell why it can't be read; None when it was deleted meanwhile."""
    for _ in range(READ_ATTEMPTS):
        try:
            content = _read_once(path)
        except FileNotFoundError:
            return _unusable(path, "is a symbolic link to nothing") if os.path.lexists(path) else None
        except OSError as error:
            return _unusable(path, _reason(error))
        if content is None:
            continue
        if len(content) > MAX_DOCUMENT_BYTES:
            return _unusable(path, f"is larger than {MAX_DOCUMENT_BYTES} bytes")
        return SourceFile(str(path), FORMATS[path.suffix], content)
    return _unusable(path, "is being written: it changed each time that it was read")


def _read_once(path: Path) -> bytes | None:
    """Return the first MAX_DOCUMENT_BYTES + 1 bytes; None when the file changed while they were read."""
    with open(path, "rb", opener=_open_without_waiting) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(MAX_DOCUMENT_BYTES + 1)
        after = os.fstat(file.fileno())
    is_settled = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return content if is_settled else None


def _open_without_waiting(path: str, flags: int) -> int:
    """Open like os.open, but don't wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _unusable(path: Path, problem: str) -> SourceFile:
    return SourceFile(str(path), FORMATS[path.suffix], None, problem)


def _reason(error: OSError) -> str:
    return f"can't be read: {error.strerror}"
