"""How watches follow: the window, its bounds, and what lies before it."""

from __future__ import annotations

import asyncio

import pytest

from stores.adapters import take
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.store import Batch, Entry
from vestryd.stores.following import Following, Stretch


def batch(revision: int, *, size: int = 1) -> Batch:
    """Make a batch with a value of `size` bytes."""
    return Batch(revision, {"a": Entry("a", b"v" * size, 1, revision)})


def revisions(batches: list[Batch]) -> list[int]:
    """Return the batches' revisions."""
    return [batch.revision for batch in batches]


class History:
    """A history that gives two revisions at a time, and counts how often it is asked."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self.asked: list[int] = []

    async def replay(self, prefix: str, after: int) -> Stretch:
        """Give the next two."""
        self.asked.append(after)
        through = min(after + 2, self.newest)
        return Stretch(tuple(batch(revision) for revision in range(after + 1, through + 1)), through)


async def test_window_is_bounded_by_revisions() -> None:
    """The window holds no more than its bound of revisions; what is before them is replayed, and no more than that."""
    following, history = Following(max_revisions=3), History(newest=10)
    following.publish(batch(revision) for revision in range(1, 11))
    assert following.floor == 7
    watch = following.watch("", after=3, replay=history.replay)
    assert revisions(await take(watch, 7)) == [4, 5, 6, 7, 8, 9, 10]
    assert history.asked == [3, 5]
    await watch.aclose()


async def test_window_is_bounded_by_bytes() -> None:
    """The window holds no more than its bound of bytes, but for a single revision that is larger."""
    following = Following(max_revisions=100, max_bytes=1000)
    following.publish(batch(revision, size=300) for revision in range(1, 11))
    assert following.floor == 7
    following.publish([batch(11, size=5000)])
    assert following.floor == 10
    following.publish([batch(12, size=1)])
    assert following.floor == 11


async def test_forgotten_revisions_leave_the_window() -> None:
    """What is forgotten is asked of the history, which is the one to say that it is gone."""
    following, history = Following(max_revisions=100), History(newest=4)
    following.publish(batch(revision) for revision in range(1, 5))
    following.forget(3)
    following.forget(2)
    assert following.floor == 3
    watch = following.watch("", after=0, replay=history.replay)
    await take(watch, 4)
    assert history.asked == [0, 2]
    await watch.aclose()


async def test_slow_watch_falls_out_of_the_window_and_comes_back() -> None:
    """A watch that is left behind replays until it is in the window again, without gap or repetition."""
    following, history = Following(max_revisions=2), History(newest=9)
    following.publish([batch(1)])
    watch = following.watch("", after=0, replay=history.replay)
    assert revisions(await take(watch, 1)) == [1]
    following.publish(batch(revision) for revision in range(2, 10))
    assert revisions(await take(watch, 8)) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert history.asked == [1, 3, 5]
    waiting = asyncio.create_task(take(watch, 1))
    await asyncio.sleep(0)
    following.publish([batch(10)])
    assert revisions(await waiting) == [10]
    await watch.aclose()


@pytest.mark.parametrize("is_closing", [True, False])
async def test_refused_replay_is_an_end_only_while_closing(*, is_closing: bool) -> None:
    """A replay that the store refuses ends the watch while the store closes, and is an error at any other time."""

    async def refuse(prefix: str, after: int) -> Stretch:
        raise StoreUnavailable("the disk is on fire")

    following = Following(max_revisions=1)
    following.publish([batch(1), batch(2)])
    watch = following.watch("", after=0, replay=refuse)
    if is_closing:
        following.expect_close()
        assert [batch async for batch in watch] == []
    else:
        with pytest.raises(StoreUnavailable, match="on fire"):
            await anext(watch)
