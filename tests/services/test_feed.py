from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.feeds import INCARNATION, FakeSource, Message, Reader, change, feed_of, reject
from vestryd.domain.errors import DocumentNotFound, ForeignResumeToken, InvalidResumeToken, Sealed, ShuttingDown
from vestryd.services.feed import WAKE_AT_ONCE, Feed


def told(messages: list[Message]) -> list[tuple[str, int]]:
    """Return (subject, revision) of the updates."""
    return [(one.subject, one.revision) for one in messages if one.what == "update"]


@pytest.fixture
def source() -> FakeSource:
    """Three subjects, each changed once."""
    return FakeSource({"a": [1], "b": [2], "c": [3]})


class TestTheState:
    """What a watch begins with."""

    async def test_the_state_comes_first_and_a_bookmark_ends_it(self, source: FakeSource) -> None:
        """The updates of the state carry no token; the bookmark does, and nothing follows it by itself."""
        feed = feed_of(source, revision=3)
        messages = await Reader(feed, ["a", "b"]).drain()
        assert messages == [
            Message("update", subject="a", revision=1),
            Message("update", subject="b", revision=2),
            Message("bookmark", token=feed.token(3)),
        ]

    async def test_a_subject_named_twice_is_told_once(self, source: FakeSource) -> None:
        """Subjects are a set."""
        assert told(await Reader(feed_of(source, revision=3), ["b", "a", "b"]).drain()) == [("b", 2), ("a", 1)]

    async def test_a_new_reader_hears_of_a_rejection_and_takes_none_for_granted(self, source: FakeSource) -> None:
        """Only what is unusual is told beside the state."""
        source.rejected.add("b")
        messages = await Reader(feed_of(source, revision=3), ["a", "b"]).drain()
        assert [one.subject for one in messages if one.what == "standing"] == ["b"]

    async def test_an_unknown_subject_is_refused_before_anything_is_said(self, source: FakeSource) -> None:
        """The watch fails as a whole, at once, and leaves no topic behind."""
        feed = feed_of(source, revision=3)
        with pytest.raises(DocumentNotFound):
            feed.watch(["a", "nowhere"], "")
        assert (feed.watchers, feed._topics) == (0, {})

    async def test_what_happens_between_the_call_and_the_first_message_is_told_once(self, source: FakeSource) -> None:
        """The state is taken when reading begins, and so are the cursors."""
        feed = feed_of(source, revision=3)
        reader = Reader(feed, ["a"])
        change(feed, source, "a")
        assert told(await reader.drain()) == [("a", 4)]


class TestChanges:
    """What follows the state."""

    async def test_one_stream_carries_many_subjects_in_order(self, source: FakeSource) -> None:
        """Events come in the order of their publication, and none of a subject that isn't watched."""
        feed = feed_of(source, revision=3)
        reader = Reader(feed, ["a", "c"])
        await reader.drain()
        for subject in "cabbacc":
            change(feed, source, subject)
        assert told(await reader.drain()) == [("c", 4), ("a", 5), ("a", 8), ("c", 9), ("c", 10)]

    async def test_a_revision_of_several_subjects_is_complete_with_its_last_event(self, source: FakeSource) -> None:
        """In whatever order a watch names the subjects: only the event that comes last says that all were delivered."""
        feed = feed_of(source, revision=3)
        for named in ("ab", "ba"):
            reader = Reader(feed, named)
            await reader.drain()
            before = feed.revision
            revision = change(feed, source, "b", "a")
            messages = await reader.drain()
            assert [(one.subject, feed.revision_of(one.token)) for one in messages] == [("b", before), ("a", revision)]

    async def test_an_event_is_the_same_bytes_for_everybody(self, source: FakeSource) -> None:
        """It is encoded once, and shared."""
        feed = feed_of(source, revision=3)
        streams = [feed.watch(["a"], "") for _ in range(3)]
        for stream in streams:
            assert b"bookmark" not in await anext(stream)
            assert b"bookmark" in await anext(stream)
        change(feed, source, "a")
        bodies = [await anext(stream) for stream in streams]
        assert bodies[0] is bodies[1] is bodies[2]
        for stream in streams:
            await stream.aclose()

    async def test_more_watchers_than_are_woken_at_once_all_hear(self, source: FakeSource) -> None:
        """The rest are woken in the loop's next turns."""
        feed = feed_of(source, revision=3)
        readers = [Reader(feed, ["a"]) for _ in range(2 * WAKE_AT_ONCE + 1)]
        for reader in readers:
            await reader.drain()
        change(feed, source, "a")
        assert [told(await reader.drain()) for reader in readers] == [[("a", 4)]] * len(readers)

    async def test_a_quiet_watch_has_a_heartbeat(self, source: FakeSource) -> None:
        """Bookmarks come while nothing else does, with the token of what is known by then."""
        feed = feed_of(source, revision=3, heartbeat_seconds=0.01)
        stream = feed.watch(["a"], "")
        assert b"update" in await anext(stream)
        for _ in range(3):
            assert await anext(stream) == source.bookmark(feed.token(3))
        feed.publish(7, [])  # a revision in which nothing of ours changed
        assert await anext(stream) == source.bookmark(feed.token(7))
        await stream.aclose()


class TestFallingBehind:
    """Watches are level-triggered."""

    async def test_a_reader_that_falls_behind_gets_the_newest_state_and_goes_on(self, source: FakeSource) -> None:
        """The steps that it missed are skipped, those that come are not."""
        feed = feed_of(source, revision=3, window_events=2)
        reader = Reader(feed, ["a"])
        await reader.drain()
        for _ in range(5):
            change(feed, source, "a")
        assert told(await reader.drain()) == [("a", 8)]
        change(feed, source, "a")
        assert told(await reader.drain()) == [("a", 9)]

    async def test_a_subject_falls_behind_by_itself(self, source: FakeSource) -> None:
        """What is still in the window of another subject is told step by step."""
        feed = feed_of(source, revision=3, window_events=3)
        reader = Reader(feed, ["a", "b"])
        await reader.drain()
        for subject in "aaabb":
            change(feed, source, subject)
        assert told(await reader.drain()) == [("a", 6), ("b", 7), ("b", 8)]

    async def test_a_reader_that_falls_behind_hears_that_a_rejection_is_over(self, source: FakeSource) -> None:
        """It may have been told of the rejection, and the event that ended it is gone."""
        feed = feed_of(source, revision=3, window_events=1)
        reader = Reader(feed, ["a"])
        await reader.drain()
        reject(feed, source, "a")
        assert (await reader.drain())[-1].rejected
        reject(feed, source, "a", rejected=False)
        change(feed, source, "a")
        change(feed, source, "a")
        standings = [one for one in await reader.drain() if one.what == "standing"]
        assert [one.rejected for one in standings] == [False]

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=40),
        st.integers(1, 10),
        st.integers(1, 1000),
    )
    @settings(deadline=None)
    def test_the_windows_keep_their_bounds(self, changes: list[tuple[str, int]], events: int, size: int) -> None:
        """Together they hold `window_events` events, and `window_bytes` bytes unless a single event is larger."""

        async def scenario() -> None:
            feed = feed_of(FakeSource({}), window_events=events, window_bytes=size)
            for revision, (subject, length) in enumerate(changes, 1):
                feed.publish(revision, [(subject, b'{"what": "' + b"x" * length + b'"}')])
                bodies = [event.body for topic in feed._topics.values() for event in topic.events]
                held = sum(map(len, bodies))
                assert len(bodies) == len(feed._order) <= events
                assert held == feed._bytes
                assert held <= size or len(bodies) == 1

        asyncio.run(scenario())


class TestResuming:
    """A reader that comes back with a token."""

    async def test_it_gets_what_it_lacks_and_nothing_else(self, source: FakeSource) -> None:
        """Everything after the token, from the window."""
        feed = feed_of(source, revision=3)
        tokens = [feed.token(change(feed, source, "a")) for _ in range(4)]
        for number, token in enumerate(tokens):
            assert told(await Reader(feed, ["a"], token).drain()) == [("a", one) for one in range(5 + number, 8)]
        assert not source.asked.is_set()

    async def test_what_the_window_has_lost_comes_from_the_source(self, source: FakeSource) -> None:
        """So a restart, which begins with empty windows, loses nothing."""
        source.changes["a"] = [1, 4, 5]
        feed = feed_of(source, revision=5)
        assert told(await Reader(feed, ["a"], feed.token(1)).drain()) == [("a", 4), ("a", 5)]

    async def test_a_reader_that_lacks_nothing_costs_the_source_nothing(self, source: FakeSource) -> None:
        """The windows are empty after a restart, and most readers are up to date then."""
        feed = feed_of(source, revision=9)
        assert told(await Reader(feed, ["a", "b", "c"], feed.token(3)).drain()) == []
        assert not source.asked.is_set()

    async def test_what_happens_while_the_source_is_asked_is_told_once(self, source: FakeSource) -> None:
        """The source decides what is newest before it waits, and the cursor stands there."""
        source.changes["a"] = [1, 4]
        feed = feed_of(source, revision=4)
        reader = Reader(feed, ["a", "b"], feed.token(1))
        coming = asyncio.ensure_future(reader.read())
        await source.asked.wait()
        change(feed, source, "b")
        change(feed, source, "a")
        first = await coming
        assert first is not None
        assert told([first, *await reader.drain()]) == [("a", 4), ("b", 2), ("b", 5), ("a", 6)]

    async def test_how_a_subject_stands_is_told_after_what_was_missed(self, source: FakeSource) -> None:
        """It is newer than all of that, also where that is told from the windows of several subjects."""
        feed = feed_of(source, revision=3)
        token = feed.token(3)
        for subject in ("a", "b", "a"):
            change(feed, source, subject)
        found = [one.what for one in await Reader(feed, ["a", "b"], token).drain()]
        assert found == ["update", "update", "update", "standing", "standing", "bookmark"]

    async def test_it_is_always_told_whether_files_are_rejected(self, source: FakeSource) -> None:
        """A rejection has no revision, and may have begun or ended without one."""
        feed = feed_of(source, revision=3)
        for rejected in (True, False):
            reject(feed, source, "a", rejected=rejected)
            standings = [one for one in await Reader(feed, ["a"], feed.token(3)).drain() if one.what == "standing"]
            assert [one.rejected for one in standings] == [rejected]


class TestTokens:
    """A resume token is opaque: an incarnation and a revision."""

    @given(st.integers(0, 2**63 - 1))
    def test_a_token_leads_back_to_its_revision(self, revision: int) -> None:
        """Round trip."""
        feed = feed_of(FakeSource({}), revision=2**63)
        assert feed.revision_of(feed.token(revision)) == revision

    @given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
    def test_garbage_is_told_from_a_token(self, token: str) -> None:
        """Whatever it is, it raises one of two errors."""
        with pytest.raises((InvalidResumeToken, ForeignResumeToken)):
            feed_of(FakeSource({})).revision_of(token)

    def test_a_token_of_another_incarnation_is_foreign(self) -> None:
        """After a restore the same revisions are other ones."""
        other = Feed(
            FakeSource({}), incarnation="f" * 32, revision=9, heartbeat_seconds=1, window_events=1, window_bytes=1
        )
        with pytest.raises(ForeignResumeToken) as caught:
            feed_of(FakeSource({}), revision=9).revision_of(other.token(3))
        assert (caught.value.token_incarnation, caught.value.incarnation) == ("f" * 32, INCARNATION)

    def test_a_token_from_the_future_is_foreign(self) -> None:
        """The store has not been there."""
        feed = feed_of(FakeSource({}), revision=9)
        with pytest.raises(ForeignResumeToken):
            feed.revision_of(feed.token(10))


class TestTheEnd:
    """How watches end."""

    async def test_closing_ends_every_watch_with_a_reason(self, source: FakeSource) -> None:
        """Each gets a farewell that it can resume from, and then ShuttingDown."""
        feed = feed_of(source, revision=3)
        readers = [Reader(feed, ["a"]), Reader(feed, ["b", "c"])]
        for reader in readers:
            await reader.drain()
        feed.close()
        for reader in readers:
            assert await reader.read() == Message("end", token=feed.token(3))
            with pytest.raises(ShuttingDown):
                await reader.read()
        assert feed.watchers == 0

    async def test_a_watch_that_comes_late_is_sent_away(self, source: FakeSource) -> None:
        """It gets neither a part of the state nor a token."""
        feed = feed_of(source, revision=3)
        feed.close()
        reader = Reader(feed, ["a"])
        assert await reader.read() == Message("end")
        with pytest.raises(ShuttingDown):
            await reader.read()

    async def test_an_end_amid_the_state_says_nothing_about_the_rest(self, source: FakeSource) -> None:
        """No bookmark tells that the state is whole, and the farewell has no token."""
        feed = feed_of(source, revision=3)
        reader = Reader(feed, ["a", "b", "c"])
        assert await reader.read() == Message("update", subject="a", revision=1)
        feed.close()
        assert await reader.read() == Message("end")

    async def test_an_end_amid_the_changes_leaves_the_reader_its_token(self, source: FakeSource) -> None:
        """The farewell neither skips what is left nor takes back what was delivered."""
        feed = feed_of(source, revision=3)
        reader = Reader(feed, ["a"])
        await reader.drain()
        change(feed, source, "a")
        change(feed, source, "a")
        first = await reader.read()
        assert first is not None
        assert first.token == feed.token(4)
        feed.close()
        assert await reader.read() == Message("end")

    async def test_an_interruption_ends_the_watches_that_are_open(self, source: FakeSource) -> None:
        """With its error, whatever they are still owed; new ones go on, and begin with the state."""
        feed = feed_of(source, revision=3)
        readers = [Reader(feed, ["a", "b"]), Reader(feed, ["b"]), Reader(feed, ["c"])]
        for reader in readers[:2]:
            await reader.drain()
        await readers[2].read()
        token = feed.token(change(feed, source, "b"))
        feed.interrupt(Sealed("for a while"))
        for reader in readers:
            with pytest.raises(Sealed, match="for a while"):
                await reader.read()
        assert (feed.watchers, feed._topics, feed._bytes) == (0, {}, 0)
        source.changes["b"].append(7)  # nobody published it
        feed.skip_to(7)
        resumed, fresh = Reader(feed, ["b"], token), Reader(feed, ["a"])
        assert told(await resumed.drain()) == [("b", 7)]
        assert told(await fresh.drain()) == [("a", 1)]
        change(feed, source, "b")
        assert told(await resumed.drain()) == [("b", 8)]

    async def test_a_subject_of_which_nothing_happened_is_forgotten_with_its_last_watcher(
        self, source: FakeSource
    ) -> None:
        """Else everybody could fill the memory; one of which something happened is kept, with how far back it goes."""
        feed = feed_of(source, revision=3)
        readers = [Reader(feed, ["a", "b"]), Reader(feed, ["a", "b"])]
        for reader in readers:
            await reader.drain()
        await readers[0].close()
        assert list(feed._topics) == ["a", "b"]
        change(feed, source, "b")
        await readers[1].drain()
        await readers[1].close()
        assert list(feed._topics) == ["b"]

    async def test_however_a_watch_ends_it_leaves_nothing(self, source: FakeSource) -> None:
        """Closed in a message, cancelled in a wait, failed, or ended by us: nobody is counted or woken any more."""
        feed = feed_of(source, revision=3)
        closed, cancelled, failing, ended = (Reader(feed, ["a", "b"]) for _ in range(4))
        await closed.read()
        await cancelled.drain()
        await ended.drain()
        assert feed.watchers == 3
        await closed.close()
        await cancelled.close()
        source.changes.pop("b")
        with pytest.raises(DocumentNotFound):
            await failing.drain()
        feed.close()
        with pytest.raises(ShuttingDown):
            await ended.drain()
        assert feed.watchers == 0
        assert feed._topics == {}

    async def test_a_watch_that_nobody_reads_is_not_counted(self, source: FakeSource) -> None:
        """It begins with the first message that is asked for."""
        feed = feed_of(source, revision=3)
        stream = feed.watch(["a"], "")
        assert feed.watchers == 0
        await stream.aclose()
        assert feed.topic("a").watchers == {}
