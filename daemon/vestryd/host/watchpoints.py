"""Which directories decide what a tree of files says.

A watch on a file dies when a rename replaces the file, so directories are what is watched: those of the tree, and for
each symbolic link on the way the one that holds the link and the one that it leads to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

EVERYTHING = ""  # as a name: whatever happens in the directory matters
MAX_LINKS = 40  # as the kernel's own limit on following links (path_resolution(7))


def watch_points(root: Path, *, depth: int) -> Iterator[tuple[Path, str]]:
    """Yield (directory, name) for all that can change what the tree below `root` says, `depth` directories deep.

    `name` is the entry of the directory that matters, or EVERYTHING. A directory is yielded **before** it is looked
    into: who sets up a watch between two steps of this iterator misses nothing. A directory with a leading dot is only
    entered where a link leads into it. What can't be read is passed over.
    """
    yield from _steps(root)
    yield from _below(root, depth)


def _steps(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the steps of resolving `path` that can be replaced: the links, the last one, and the first that is missing.

    Directories on the way that are moved away themselves are not among them: the slow poll is for those.
    """
    here, links = Path("/"), 0
    pending = deque(path.absolute().parts[1:])
    while pending and links <= MAX_LINKS:
        name = pending.popleft()
        step = here.parent if name == ".." else here / name  # no link is left in `here`, so `..` is its parent
        if not pending or _next(step) != step:
            yield here, name
        target = _next(step)
        if target is None:
            return
        if target == step:
            here = step
            continue
        links += 1
        here = Path("/") if target.is_absolute() else here
        pending.extendleft(reversed([part for part in target.parts if part != "/"]))


def _next(step: Path) -> Path | None:
    """Return where a link leads, as it is written; `step` itself when it is no link, None when there is nothing."""
    try:
        return step.readlink()
    except FileNotFoundError:
        return None
    except OSError:
        return step


def _below(directory: Path, depth: int) -> Iterator[tuple[Path, str]]:
    yield directory, EVERYTHING
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        if _next(entry) != entry:
            yield from _steps(entry)
        if depth and not entry.name.startswith(".") and _is_directory(entry):
            yield from _below(entry, depth - 1)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to where we may not go
        return False
