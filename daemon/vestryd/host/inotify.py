"""Tells when something in a tree of files may have changed, after inotify(7)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import structlog
from inotify_simple import Event, INotify, flags

from vestryd.host.watchpoints import EVERYTHING, watch_points

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# MODIFY is left out on purpose: an in-place writer is heard when it closes the file, not at each of its writes.
MASK = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.CREATE
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ATTRIB
    | flags.ONLYDIR
)
EXHAUSTED = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS}
DEPTH = 2  # namespaces/<name>: host/files.py reads nothing deeper


class Trigger(StrEnum):
    """Why it is time to look at the tree again."""

    EVENTS = "events"  # something happened
    POLL = "poll"  # nothing was heard for a while, which on a network file system means little


class TreeWatcher:
    """Says when to look at the tree below `root` again: `async for trigger in watcher`, until `close`.

    The watch stands when the constructor returns: look at the tree after that. No change to it is missed; other things
    may be reported, so compare what is read. A change is reported once it has been quiet for `debounce_seconds`, or
    `max_wait_seconds` after the first change; and after `poll_seconds` in which nothing was heard, that is reported.
    `root` may be missing, replaced or a symbolic link. A watcher belongs to the event loop in which it was built, and
    to one reader. With `use_inotify` off, or when the machine has no watches left, only the poll remains.
    """

    def __init__(
        self,
        root: Path,
        *,
        debounce_seconds: float,
        poll_seconds: float,
        max_wait_seconds: float = 2.0,
        use_inotify: bool = True,
    ) -> None:
        self._root = root
        self._debounce_seconds = debounce_seconds
        self._poll_seconds = poll_seconds
        self._max_wait_seconds = max_wait_seconds
        self._loop = asyncio.get_running_loop()
        self._touched = asyncio.Event()
        self._report_by = math.inf  # the loop's time by which what was heard must be reported; inf: nothing was heard
        self._is_closed = False
        self._names: dict[int, set[str]] = {}  # watch descriptor -> the entries that matter in its directory
        self._inotify: Any = None  # an INotify, which carries no types; None when only the poll remains
        if use_inotify:
            self._open()

    def __aiter__(self) -> Self:
        """Return the watcher: it is its own iterator."""
        return self

    async def __anext__(self) -> Trigger:
        """Wait until it is time to look again. Cancelling the wait loses nothing."""
        has_heard = self._report_by < math.inf or await self._touched_within(self._poll_seconds)
        while has_heard and not self._is_closed:
            patience = min(self._debounce_seconds, self._report_by - self._loop.time())
            if patience <= 0 or not await self._touched_within(patience):
                break
        if self._is_closed:
            raise StopAsyncIteration
        self._touched.clear()
        self._report_by = math.inf
        self._watch_all()  # before the reader looks: what it doesn't see yet, an event will tell
        return Trigger.EVENTS if has_heard else Trigger.POLL

    def close(self) -> None:
        """Stop watching, and end the iteration. Idempotent."""
        self._is_closed = True
        self._touched.set()
        self._let_go()

    async def _touched_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._touched.wait()
        except TimeoutError:
            return False
        if not self._is_closed:
            self._touched.clear()
        return True

    def _open(self) -> None:
        try:
            self._inotify = INotify(nonblocking=True)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._fall_back(error)
            return
        self._loop.add_reader(self._inotify.fd, self._on_readable)
        self._watch_all()

    def _on_readable(self) -> None:
        if self._inotify:
            self._take(self._inotify.read(timeout=0))

    def _take(self, events: Sequence[Event]) -> None:
        relevant = [event for event in events if self._matters(event)]
        if not relevant:
            return
        self._report_by = min(self._report_by, self._loop.time() + self._max_wait_seconds)
        self._touched.set()
        if any(event.mask & flags.ISDIR for event in relevant):
            self._watch_all()  # at once, so that the debounce hears what goes into a new directory

    def _matters(self, event: Event) -> bool:
        if event.mask & flags.Q_OVERFLOW:  # the kernel dropped events: anything may have happened
            return True
        names = self._names.get(event.wd, set())  # empty for a watch that was taken away
        is_of_the_directory_itself = not event.name
        return bool(names) and (is_of_the_directory_itself or bool(names & {EVERYTHING, event.name}))

    def _watch_all(self) -> None:
        """Watch what there is to watch now, and nothing else. A directory that is watched already stays watched."""
        if not self._inotify:
            return
        names: dict[int, set[str]] = {}
        for directory, name in watch_points(self._root, depth=DEPTH):
            try:
                watch = self._inotify.add_watch(directory, MASK)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._fall_back(error)
                    return
                continue  # gone again, or not ours to read: its parent or the poll will tell
            names.setdefault(watch, set()).add(name)
        for watch in self._names.keys() - names.keys():
            with contextlib.suppress(OSError):  # the kernel took it away with its directory
                self._inotify.rm_watch(watch)
        self._names = names

    def _fall_back(self, error: OSError) -> None:
        """Go on with the poll alone."""
        log.warning(
            "inotify.unavailable",
            error=error.strerror,
            directory=str(self._root),
            poll_seconds=self._poll_seconds,
            remedy="changes are seen by polling; raise fs.inotify.max_user_watches or max_user_instances, and restart",
        )
        self._let_go()

    def _let_go(self) -> None:
        if self._inotify:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
