"""The last known good copies on disk, so that a service starts while its daemon is away.

A file holds one namespace of one target. It begins with three lines: the format, the SHA-256 of all that follows, and
a JSON object with the target and when the copy was saved (seconds since the epoch); the rest is a ConfigUpdate. Files
are written whole or not at all, with mode 0600 in a directory with mode 0700. What somebody else could have written is
never read.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from vestry.errors import CacheUnusable
from vestry.v1 import config_pb2

_FORMAT = b"vestry config cache 1"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedCopy:
    """A copy from disk, and when it was saved, in seconds since the epoch."""

    update: config_pb2.ConfigUpdate
    saved_time: float

    @property
    def age_seconds(self) -> float:
        """The seconds since it was saved; 0 when the clock went back since then."""
        return max(0.0, time.time() - self.saved_time)


class _Unfit(Exception):
    """A file can't be used; the message says why."""


class Cache:
    """The copies of one target in one directory. Several processes may share it; the last one to save wins.

    `load` and `save` block: call them in a thread.
    """

    def __init__(self, directory: Path, *, target: str) -> None:
        self._directory = directory
        self._target = target

    def prepare(self) -> None:
        """Make the directory if there is none. Raises CacheUnusable unless it is ours alone to write."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = self._directory.stat()
        except OSError as error:
            raise CacheUnusable(str(self._directory), error.strerror or str(error)) from error
        problem = _problem(facts)
        if problem:
            raise CacheUnusable(str(self._directory), f"{problem}; make it ours alone, with mode 0700")

    def load(self, namespace: str) -> CachedCopy | None:
        """Return the copy of `namespace`; None when there is none. An unusable one is logged and left alone."""
        path = self._path(namespace)
        try:
            return self._decode(_read(path), namespace)
        except FileNotFoundError:
            return None
        except (OSError, _Unfit) as error:
            log.warning("config.cache_ignored path=%s problem=%s", path, error)
            return None

    def save(self, update: config_pb2.ConfigUpdate) -> None:
        """Keep `update` in place of what was kept. A failure is logged, and leaves the old copy as it was."""
        path = self._path(update.namespace)
        try:
            _replace(path, self._encode(update))
        except OSError as error:
            log.warning("config.cache_not_saved path=%s problem=%s", path, error)

    def _path(self, namespace: str) -> Path:
        """Name the file: readable for people, and different for each target, whatever its characters."""
        digest = hashlib.sha256(self._target.encode()).hexdigest()[:16]
        return self._directory / f"{namespace}.{digest}.cache"

    def _encode(self, update: config_pb2.ConfigUpdate) -> bytes:
        header = json.dumps({"target": self._target, "saved_time": time.time()}).encode()
        body = header + b"\n" + update.SerializeToString()
        return b"\n".join((_FORMAT, hashlib.sha256(body).hexdigest().encode(), body))

    def _decode(self, content: bytes, namespace: str) -> CachedCopy:
        form, _, rest = content.partition(b"\n")
        checksum, _, body = rest.partition(b"\n")
        if form != _FORMAT:
            raise _Unfit("it is of another format")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            raise _Unfit("its checksum is wrong")
        header, _, message = body.partition(b"\n")
        try:
            facts = json.loads(header)
            copy = CachedCopy(config_pb2.ConfigUpdate.FromString(message), float(facts["saved_time"]))
        except (ValueError, KeyError, TypeError, DecodeError) as error:
            raise _Unfit("it can't be decoded") from error
        if (facts.get("target"), copy.update.namespace) != (self._target, namespace):
            raise _Unfit("it is a copy of something else")
        return copy


class CacheWriter:
    """Saves states behind the watch's back, the newest of each namespace; what comes faster than the disk is skipped.

    `run` is its one task; it ends after `stop`, when all is saved.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pending: dict[str, config_pb2.ConfigUpdate] = {}  # namespace -> the newest state
        self._wake = asyncio.Event()
        self._is_stopping = False

    def put(self, update: config_pb2.ConfigUpdate) -> None:
        """Have `update` saved soon."""
        self._pending[update.namespace] = update
        self._wake.set()

    def stop(self) -> None:
        """Have `run` end once it has saved what was put."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Save what is put until stopped."""
        while self._pending or not self._is_stopping:
            self._wake.clear()
            while self._pending:
                _, update = self._pending.popitem()
                await self._save(update)
            if not self._is_stopping:
                await self._wake.wait()

    async def _save(self, update: config_pb2.ConfigUpdate) -> None:
        try:
            await asyncio.to_thread(self._cache.save, update)
        except RuntimeError:  # the interpreter is going down and lends no more threads: nobody is left to be held up
            self._cache.save(update)


def _read(path: Path) -> bytes:
    """Return a file's content, unless others could have written it or it is a link."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        facts = os.fstat(file.fileno())
        problem = _problem(facts) if stat.S_ISREG(facts.st_mode) else "it is not a regular file"
        if problem:
            raise _Unfit(problem)
        return file.read()


def _problem(facts: os.stat_result) -> str:
    """Say why a file or directory isn't safe to use; nothing when it is."""
    if facts.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others can write to it" if facts.st_mode & _OTHERS_MAY_WRITE else ""


def _replace(path: Path, content: bytes) -> None:
    """Put `content` at `path`, durably and all at once."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
