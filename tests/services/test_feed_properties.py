"""Any interleaving of events, reads, breaks and restarts, beside a model of what each reader may and must see."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.feeds import FakeSource, Message, Reader, change, feed_of, reject
from vestryd.domain.errors import ShuttingDown
from vestryd.services.feed import Feed

SUBJECTS = "abc"
WATCHES = ("a", "bc", "cab")

SUBJECT = st.sampled_from(SUBJECTS)
READER = st.integers(0, len(WATCHES) - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.lists(SUBJECT, min_size=1, unique=True)),
        st.tuples(st.just("reject"), SUBJECT, st.booleans()),
        st.tuples(st.just("read"), READER, st.integers(1, 4)),
        st.tuples(st.just("resume"), READER, st.integers(0, 100)),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


@dataclass
class Client:
    """One reader over many connections, and what it may conclude from what it saw."""

    subjects: str
    reader: Reader
    tokens: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)  # subject -> the revision up to which nothing is lacking
    rejected: dict[str, bool] = field(default_factory=dict)  # subject -> what was said last
    seen: list[tuple[str, int]] = field(default_factory=list)  # the updates of this connection
    base: int = -1  # the revision of the token that this connection began with

    def take(self, message: Message, feed: Feed, source: FakeSource) -> None:
        """Note a message, and hold it to what every message promises."""
        if message.what == "update":
            assert message.revision >= self.known.get(message.subject, -1), "out of order"
            self.known[message.subject] = message.revision
            self.seen.append((message.subject, message.revision))
        if message.what == "standing":
            self.rejected[message.subject] = message.rejected
        if message.token:
            revision = feed.revision_of(message.token)
            for subject in self.subjects:
                due = [one for one in source.changes[subject] if one <= revision]
                assert self.known[subject] >= max(due), "the token says more than was delivered"
            self.tokens.append(message.token)


class World:
    """A feed, its source, and some clients."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.source = FakeSource({subject: [number] for number, subject in enumerate(SUBJECTS, 1)})
        self.feed = feed_of(self.source, revision=len(SUBJECTS), **options)
        self.clients = [Client(subjects, Reader(self.feed, subjects)) for subjects in WATCHES]

    async def do(self, step: Sequence[Any]) -> None:
        """Take one step."""
        match step:
            case ("change", subjects):
                change(self.feed, self.source, *subjects)
            case ("reject", subject, rejected):
                reject(self.feed, self.source, subject, rejected=rejected)
            case ("read", number, times):
                for _ in range(times):
                    await self._read(self.clients[number])
            case ("resume", number, which):
                client = self.clients[number]
                await self._connect(client, client.tokens[which % len(client.tokens)] if client.tokens else "")
            case ("restart",):
                await self._restart()

    async def drain(self) -> None:
        """Let everybody read all that there is."""
        for client in self.clients:
            while await self._read(client):
                pass

    async def _read(self, client: Client) -> bool:
        message = await client.reader.read()
        if message is not None:
            client.take(message, self.feed, self.source)
        return message is not None

    async def _connect(self, client: Client, token: str) -> None:
        await client.reader.close()
        client.seen = []
        client.base = self.feed.revision_of(token) if token else -1
        client.known = dict.fromkeys(client.subjects, client.base) if token else {}
        client.rejected = client.rejected if token else {}  # who starts anew takes for granted that nothing is
        client.reader = Reader(self.feed, client.subjects, token)

    async def _restart(self) -> None:
        self.feed.close()
        for client in self.clients:
            try:
                while await self._read(client):
                    pass
            except ShuttingDown:
                pass
        assert self.feed.watchers == 0
        self.feed = feed_of(self.source, revision=self.feed.revision, **self.options)
        for client in self.clients:
            await self._connect(client, client.tokens[-1] if client.tokens else "")


def expected(client: Client, source: FakeSource) -> dict[str, list[int]]:
    """Return subject -> the revisions that a connection sees when nothing is lost: the state now, or what it lacks."""
    if client.base >= 0:
        return {one: [at for at in source.changes[one] if at > client.base] for one in client.subjects}
    first = dict(reversed(client.seen))
    return {one: [at for at in source.changes[one] if at >= first[one]] for one in client.subjects}


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_missed_and_nothing_comes_twice(steps: list[Sequence[Any]]) -> None:
    """While the windows or the source cover it, each event comes once and in order, whatever breaks in between.

    Each token, of the farewell too, says no more than was delivered; and in the end everybody knows what is rejected.
    """

    async def scenario() -> None:
        world = World()
        for step in steps:
            await world.do(step)
        await world.drain()
        for client in world.clients:
            seen = {one: [at for subject, at in client.seen if subject == one] for one in client.subjects}
            assert seen == expected(client, world.source)
            rejected = {subject for subject, is_so in client.rejected.items() if is_so}
            assert rejected == world.source.rejected & set(client.subjects)
            await client.reader.close()
        assert world.feed.watchers == 0

    asyncio.run(scenario())


@given(STEPS, st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_whoever_falls_behind_still_ends_up_with_the_newest(
    steps: list[Sequence[Any]], window_events: int, reach: int
) -> None:
    """With windows and a source that forget, steps may be skipped, but never the last, and never backwards."""

    async def scenario() -> None:
        world = World(window_events=window_events)
        world.source.reach = reach
        for step in steps:
            await world.do(step)
        await world.drain()
        for client in world.clients:
            for subject in client.subjects:
                assert client.known[subject] >= world.source.changes[subject][-1]
                assert client.rejected.get(subject, False) == (subject in world.source.rejected)
            await client.reader.close()

    asyncio.run(scenario())
