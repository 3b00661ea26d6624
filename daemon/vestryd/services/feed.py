"""Fan-out: one event, encoded once, to every watcher of its subject.

Each subject has a topic: the window of its last events, and who watches it. A watcher is a cursor into the windows of its
topics, with one send in flight; it costs no queue of its own. It is level-triggered: a watcher whose cursor has fallen out
of a window gets the subject's newest state in place of what it missed.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vestryd.domain.errors import ForeignResumeToken, InvalidResumeToken, ShuttingDown

WAKE_AT_ONCE = 64  # watchers woken before other work of the loop gets its turn (measured by others: 16 to 64)
ALWAYS = 2**62  # as an event's revision: a resuming reader needs it whatever it has seen
TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a subject at a revision, as the bytes of one message of the watch."""

    revision: int
    body: bytes


class Source(Protocol):
    """What a feed asks of the service that it belongs to. Bodies are serialized messages without a resume token."""

    def state(self, subject: str) -> Sequence[Event]:
        """Return the events that bring a new reader up to date. Raises a domain error when the subject is unknown."""

    async def missed(self, subject: str, after: int) -> Sequence[Event]:
        """Return the events above revision `after`, oldest first, as far back as is reasonable; the newest for sure.

        What is newest is decided before the first wait.
        """

    def with_token(self, body: bytes, token: str) -> bytes:
        """Return the body with a resume token."""

    def bookmark(self, token: str) -> bytes:
        """Return the message that says that everything up to a token was delivered."""

    def farewell(self, token: str) -> bytes:
        """Return the last message of a watch that ends because the daemon shuts down. An empty token says nothing."""


@dataclass(slots=True, eq=False)
class Topic:
    """The window of a subject's last events. Positions count its events from the first ever; `first` is in the window.

    `forgotten` is the newest revision whose events may be missing from the window.
    """

    subject: str
    forgotten: int
    first: int = 0
    events: deque[Event] = field(default_factory=deque)
    watchers: dict[Watcher, None] = field(default_factory=dict)  # an ordered set: first come, first served

    @property
    def end(self) -> int:
        """The position after the newest event."""
        return self.first + len(self.events)

    def at(self, position: int) -> Event:
        """Return the event at a position that is in the window."""
        return self.events[position - self.first]

    def after(self, revision: int) -> int:
        """Return the position of the first event above `revision` in the window."""
        position = self.end
        while position > self.first and self.at(position - 1).revision > revision:
            position -= 1
        return position


class Feed:
    """The events of one service, for as long as the daemon serves. It belongs to one event loop.

    All windows together hold at most `window_events` events and (but for the newest) `window_bytes` bytes. `revision` is
    where the store stood when watching began; what happened before is in the source's state.
    """

    def __init__(
        self,
        source: Source,
        *,
        incarnation: str,
        revision: int,
        heartbeat_seconds: float,
        window_events: int,
        window_bytes: int,
    ) -> None:
        self.source = source
        self.revision = revision
        self.heartbeat_seconds = heartbeat_seconds
        self.watchers = 0
        self.is_closed = False
        self._incarnation = incarnation
        self._start = revision
        self._window_events = window_events
        self._window_bytes = window_bytes
        self._bytes = 0
        self._topics: dict[str, Topic] = {}
        self._order: deque[Topic] = deque()  # the topic of each event in the windows, oldest first

    def publish(self, revision: int, events: Sequence[tuple[str, bytes]]) -> None:
        """Put (subject, body) events of one revision before the watchers of their subjects.

        A resume token says that a revision is complete: so only its last event carries it.
        """
        before, self.revision = self.revision, max(self.revision, revision)
        wake: dict[Watcher, None] = {}
        for number, (subject, body) in enumerate(events, 1):
            token = self.token(self.revision if number == len(events) else before)
            topic = self.topic(subject)
            self._keep(topic, Event(self.revision, self.source.with_token(body, token)))
            wake.update(topic.watchers)
        _wake(list(wake))

    def watch(self, subjects: Iterable[str], resume_token: str) -> AsyncGenerator[bytes, None]:
        """Return the messages of a watch, for ever: what the reader lacks, a bookmark, and then every change.

        An unusable token or an unknown subject raises here, before the first message.
        """
        after = self.revision_of(resume_token) if resume_token else None
        wanted = tuple(dict.fromkeys(subjects))
        for subject in wanted:
            self.source.state(subject)
        return Watcher(self, [self.topic(subject) for subject in wanted]).run(after)

    def close(self) -> None:
        """End every watch: each gets a farewell, and then ShuttingDown."""
        self.is_closed = True
        _wake([watcher for topic in self._topics.values() for watcher in topic.watchers])

    def token(self, revision: int) -> str:
        """Return the resume token of a reader that has everything up to `revision`."""
        return base64.urlsafe_b64encode(bytes.fromhex(self._incarnation) + revision.to_bytes(8, "big")).decode()

    def revision_of(self, token: str) -> int:
        """Return the revision of a token. Raises InvalidResumeToken or ForeignResumeToken."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError as error:
            raise InvalidResumeToken from error
        if len(raw) != TOKEN_BYTES:
            raise InvalidResumeToken
        incarnation, revision = raw[:16].hex(), int.from_bytes(raw[16:], "big")
        if incarnation != self._incarnation or revision > self.revision:
            raise ForeignResumeToken(incarnation, self._incarnation)
        return revision

    def topic(self, subject: str) -> Topic:
        """Return a subject's topic, new if need be."""
        topic = self._topics.get(subject)
        if topic is None:
            topic = self._topics[subject] = Topic(subject, self._start)
        return topic

    def _keep(self, topic: Topic, event: Event) -> None:
        topic.events.append(event)
        self._order.append(topic)
        self._bytes += len(event.body)
        while len(self._order) > self._window_events or (self._bytes > self._window_bytes and len(self._order) > 1):
            oldest = self._order.popleft()
            gone = oldest.events.popleft()
            oldest.first += 1
            oldest.forgotten = gone.revision
            self._bytes -= len(gone.body)


class Watcher:
    """One watch: a cursor for each topic. Lives as long as its stream."""

    def __init__(self, feed: Feed, topics: Iterable[Topic]) -> None:
        self.awake = asyncio.Event()
        self._feed = feed
        self._cursors = {topic: topic.end for topic in topics}
        self._owed: deque[bytes] = deque()  # what goes out before the cursors are looked at
        self._seen = feed.revision  # everything up to here has gone out, once nothing is owed

    async def run(self, after: int | None) -> AsyncGenerator[bytes, None]:
        """Yield what a reader that has everything up to `after` lacks, a bookmark, and then every change, for ever."""
        feed = self._feed
        feed.watchers += 1
        for topic in self._cursors:
            topic.watchers[self] = None
        try:
            await self._catch_up(after)
            is_quiet = True
            while not feed.is_closed:
                self.awake.clear()
                while (body := self._next()) is not None:
                    yield body
                if is_quiet:
                    yield feed.source.bookmark(feed.token(self._seen))
                is_quiet = not await self._is_woken()
            yield feed.source.farewell("" if self._owed else feed.token(self._seen))
            raise ShuttingDown
        finally:
            feed.watchers -= 1
            for topic in self._cursors:
                topic.watchers.pop(self, None)

    async def _catch_up(self, after: int | None) -> None:
        """Owe the reader what it lacks; from here on the cursors tell what is new."""
        source = self._feed.source
        self._cursors = {topic: topic.end for topic in self._cursors}
        self._seen = self._feed.revision if after is None else after
        if after is None:
            self._owed.extend(event.body for topic in self._cursors for event in source.state(topic.subject))
            return
        for topic in list(self._cursors):
            now = source.state(topic.subject)
            if after >= topic.forgotten:
                self._cursors[topic] = min(self._cursors[topic], topic.after(after))
            elif any(after < event.revision < ALWAYS for event in now):
                self._cursors[topic] = topic.end  # the source looks before it waits
                self._owed.extend(event.body for event in await source.missed(topic.subject, after))
            self._owed.extend(event.body for event in now if event.revision == ALWAYS)

    def _next(self) -> bytes | None:
        """Return the next message, None when there is nothing more to say for now."""
        if self._feed.is_closed:
            return None
        if not self._owed:
            self._look()
        return self._owed.popleft() if self._owed else None

    def _look(self) -> None:
        """Owe the oldest event after the cursors; where one has fallen out of its window, the newest state instead."""
        oldest: tuple[int, Topic] | None = None
        for topic, cursor in self._cursors.items():
            if cursor < topic.first:
                self._cursors[topic] = topic.end
                self._owed.extend(event.body for event in self._feed.source.state(topic.subject))
                return
            if cursor < topic.end and (oldest is None or topic.at(cursor).revision < oldest[0]):
                oldest = (topic.at(cursor).revision, topic)
        if oldest is None:
            self._seen = self._feed.revision
            return
        revision, topic = oldest
        self._owed.append(topic.at(self._cursors[topic]).body)
        self._cursors[topic] += 1
        self._seen = max(self._seen, revision - 1)

    async def _is_woken(self) -> bool:
        try:
            async with asyncio.timeout(self._feed.heartbeat_seconds):
                await self.awake.wait()
        except TimeoutError:
            return False
        return True


def _wake(watchers: list[Watcher]) -> None:
    """Wake the watchers a few at a time, so that a big publish doesn't stall whoever reads meanwhile."""
    for watcher in watchers[:WAKE_AT_ONCE]:
        watcher.awake.set()
    if len(watchers) > WAKE_AT_ONCE:
        asyncio.get_running_loop().call_soon(_wake, watchers[WAKE_AT_ONCE:])
