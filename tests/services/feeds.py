"""What a feed is tested with: a source whose history is known, and readers that take one message at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vestryd.domain.errors import DocumentNotFound
from vestryd.services.feed import Feed
from vestryd.services.feed_source import Event, Standing

INCARNATION = "0123456789abcdef" * 2
TICKS = 24  # turns of the loop after which nothing more comes by itself


@dataclass(frozen=True)
class Message:
    """A message as the fake source writes it; `revision` is 0 unless `what` is update, `rejected` is of a standing."""

    what: str
    token: str = ""
    subject: str = ""
    revision: int = 0
    rejected: bool = False


@dataclass
class FakeSource:
    """Subjects, the revisions at which each changed, and those that are rejected at the moment."""

    changes: dict[str, list[int]]
    rejected: set[str] = field(default_factory=set)
    reach: int = 1_000_000  # how many changes `missed` goes back
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # whether `missed` was

    def state(self, subject: str) -> Event:
        """Return the newest change."""
        if subject not in self.changes:
            raise DocumentNotFound("config", subject)
        newest = self.changes[subject][-1]
        return Event(newest, self.update(subject, newest))

    def standing(self, subject: str) -> Standing:
        """Return whether the subject is rejected."""
        return Standing((self.told(subject),), is_usual=subject not in self.rejected)

    async def missed(self, subject: str, after: int) -> Sequence[Event]:
        """Return the changes after a revision, as far as `reach` goes, and not at once."""
        self.asked.set()
        found = self.changes[subject][-self.reach :]
        await asyncio.sleep(0)
        return [Event(revision, self.update(subject, revision)) for revision in found if revision > after]

    def with_token(self, body: bytes, token: str) -> bytes:
        """Return the message with a token."""
        return _write(**{**json.loads(body), "token": token})

    def bookmark(self, token: str) -> bytes:
        """Return a bookmark."""
        return _write(what="bookmark", token=token)

    def farewell(self, token: str) -> bytes:
        """Return an end."""
        return _write(what="end", token=token)

    def update(self, subject: str, revision: int) -> bytes:
        """Return the message of a change."""
        return _write(what="update", subject=subject, revision=revision)

    def told(self, subject: str) -> bytes:
        """Return the message that tells whether the subject is rejected."""
        return _write(what="standing", subject=subject, rejected=subject in self.rejected)


class Reader:
    """A watch that is read one message at a time."""

    def __init__(self, feed: Feed, subjects: Iterable[str], token: str = "") -> None:
        self.stream: AsyncGenerator[bytes, None] = feed.watch(subjects, token)
        self._coming: asyncio.Future[bytes] | None = None

    async def read(self) -> Message | None:
        """Return the next message, or None when there is none now. Raises what ends the watch."""
        self._coming = self._coming or asyncio.ensure_future(anext(self.stream))
        for _ in range(TICKS):
            if self._coming.done():
                break
            await asyncio.sleep(0)
        else:
            return None
        coming, self._coming = self._coming, None
        return Message(**json.loads(coming.result()))

    async def drain(self) -> list[Message]:
        """Return all that there is now."""
        found = []
        while (message := await self.read()) is not None:
            found.append(message)
        return found

    async def close(self) -> None:
        """Go away, also in the middle of a wait."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self.stream.aclose()


def feed_of(source: FakeSource, *, revision: int = 0, **options: Any) -> Feed:
    """Return a feed with a window that holds all, and a heart that doesn't beat, unless `options` say otherwise."""
    settings = {"heartbeat_seconds": 3600.0, "window_events": 10_000, "window_bytes": 10_000_000, **options}
    return Feed(source, incarnation=INCARNATION, revision=revision, **settings)


def change(feed: Feed, source: FakeSource, *subjects: str) -> int:
    """Let subjects change at the next revision, and publish that."""
    revision = feed.revision + 1
    for subject in subjects:
        source.changes.setdefault(subject, []).append(revision)
    feed.publish(revision, [(subject, source.update(subject, revision)) for subject in subjects])
    return revision


def reject(feed: Feed, source: FakeSource, subject: str, *, rejected: bool = True) -> None:
    """Let a subject be rejected, or no longer, and publish that."""
    (source.rejected.add if rejected else source.rejected.discard)(subject)
    feed.publish(feed.revision, [(subject, source.told(subject))])


def _write(**fields: Any) -> bytes:
    return json.dumps(fields).encode()
