"""Fan-out: one event, encoded once, to every watcher of its subject.

Each subject has a topic: the window of its last events, and who watches it. A watcher is a cursor into the windows of its
topics, with one send in flight; it costs no queue of its own. It is level-triggered: a watcher whose cursor has fallen out
of a window gets the subject's newest state in place of what it missed.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from vestryd.domain.errors import ForeignResumeToken, InvalidResumeToken, ShuttingDown, VestryError
from vestryd.services.feed_source import Event, Source

WAKE_AT_ONCE = 64  # watchers woken before other work of the loop gets its turn (measured by others: 16 to 64)
TOKEN_BYTES = 24


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
        self._published = 0
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
            self._published += 1
            self._keep(topic, Event(self.revision, self.source.with_token(body, token), self._published))
            wake.update(topic.watchers)
        _wake(iter(wake))

    def watch(self, subjects: Iterable[str], resume_token: str) -> AsyncGenerator[bytes, None]:
        """Return the messages of a watch, for ever: what the reader lacks, a bookmark, and then every change.

        An unknown subject or an unusable token raises here, before the first message.
        """
        wanted = tuple(dict.fromkeys(subjects))
        for subject in wanted:
            self.source.state(subject)
        after = self.revision_of(resume_token) if resume_token else None
        return Watcher(self, wanted).run(after)

    def interrupt(self, why: VestryError) -> None:
        """End every watch that is open with an error, and empty the windows. Whoever watches from now on gets states."""
        watchers = self._everybody()
        for watcher in watchers:
            watcher.interruption = why
        self._topics.clear()
        self._order.clear()
        self._bytes = 0
        self.skip_to(self.revision)
        _wake(iter(watchers))

    def skip_to(self, revision: int) -> None:
        """Begin again where the store stands now: nobody has published what happened up to `revision`."""
        self.revision = self._start = max(self.revision, revision)

    def close(self) -> None:
        """End every watch: each gets a farewell, and then ShuttingDown."""
        self.is_closed = True
        _wake(iter(self._everybody()))

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

    def release(self, topic: Topic) -> None:
        """Forget a topic that nobody watches and that never had an event: anybody may watch what isn't there yet."""
        if not topic.watchers and not topic.end and self._topics.get(topic.subject) is topic:
            del self._topics[topic.subject]

    def _everybody(self) -> list[Watcher]:
        """Return who watches; whoever watches several subjects is in it only once."""
        return list(dict.fromkeys(watcher for topic in self._topics.values() for watcher in topic.watchers))

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
    """One watch: a cursor for each topic. Lives as long as its stream; an `interruption` is what ends it."""

    def __init__(self, feed: Feed, subjects: Sequence[str]) -> None:
        self.awake = asyncio.Event()
        self.interruption: VestryError | None = None
        self._feed = feed
        self._subjects = subjects
        self._cursors: dict[Topic, int] = {}
        self._owed: deque[bytes] = deque()  # what goes out before the cursors are looked at
        self._standings: deque[str] = deque()  # the subjects whose standing is told once the cursors have caught up

    async def run(self, after: int | None) -> AsyncGenerator[bytes, None]:
        """Yield what a reader that has everything up to `after` lacks, a bookmark, and then every change, for ever."""
        feed = self._feed
        feed.watchers += 1
        self._cursors = {topic: topic.end for topic in map(feed.topic, self._subjects)}
        for topic in self._cursors:
            topic.watchers[self] = None
        try:
            for topic in self._cursors:
                await self._catch_up(topic, after)
            is_quiet = True
            while not feed.is_closed and self.interruption is None:
                self.awake.clear()  # before looking: what comes later wakes us again
                if (body := self._next()) is not None:
                    yield body
                elif is_quiet:
                    is_quiet = False
                    yield feed.source.bookmark(feed.token(feed.revision))
                else:
                    is_quiet = not await self._is_woken()
            if self.interruption is not None:
                raise self.interruption
            is_all = self._next() is None
            yield feed.source.farewell(feed.token(feed.revision) if is_all else "")
            raise ShuttingDown
        finally:
            feed.watchers -= 1
            for topic in self._cursors:
                topic.watchers.pop(self, None)
                feed.release(topic)

    async def _catch_up(self, topic: Topic, after: int | None) -> None:
        """Owe the reader what it lacks of a topic; from here on the cursor tells what is new."""
        source = self._feed.source
        state = source.state(topic.subject)
        self._cursors[topic] = topic.end
        if after is None:
            standing = source.standing(topic.subject)
            self._owed.append(state.body)
            self._owed.extend(() if standing.is_usual else standing.bodies)
            return
        self._standings.append(topic.subject)  # what it lacks is older, and must not come after it
        if after >= topic.forgotten:
            self._cursors[topic] = topic.after(after)
        elif after < state.revision:
            # The cursor stands at the end already: the source looks before it waits.
            self._owed.extend(event.body for event in await source.missed(topic.subject, after))

    def _next(self) -> bytes | None:
        """Return the next message, None when there is nothing more to say for now."""
        if not self._owed:
            self._look()
        while not self._owed and self._standings:
            self._owed.extend(self._feed.source.standing(self._standings.popleft()).bodies)
        return self._owed.popleft() if self._owed else None

    def _look(self) -> None:
        """Owe the oldest event after the cursors; where one has fallen out of its window, the newest state instead."""
        oldest: tuple[int, Topic] | None = None
        for topic, cursor in self._cursors.items():
            if cursor < topic.first:
                self._cursors[topic] = topic.end
                source = self._feed.source
                self._owed.extend((source.state(topic.subject).body, *source.standing(topic.subject).bodies))
                return
            if cursor < topic.end and (oldest is None or topic.at(cursor).number < oldest[0]):
                oldest = (topic.at(cursor).number, topic)
        if oldest is not None:
            _, topic = oldest
            self._owed.append(topic.at(self._cursors[topic]).body)
            self._cursors[topic] += 1

    async def _is_woken(self) -> bool:
        try:
            async with asyncio.timeout(self._feed.heartbeat_seconds):
                await self.awake.wait()
        except TimeoutError:
            return False
        return True


def _wake(watchers: Iterator[Watcher]) -> None:
    """Wake the watchers a few at a time, so that a big publish doesn't stall whoever reads meanwhile."""
    few = list(islice(watchers, WAKE_AT_ONCE))
    for watcher in few:
        watcher.awake.set()
    if len(few) == WAKE_AT_ONCE:
        asyncio.get_running_loop().call_soon(_wake, watchers)
