"""The revision up to which something is applied, and those who wait for one."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from vestryd.domain.errors import ShuttingDown


class Reached:
    """How far a follower of the store has come. Lives as long as the follower."""

    def __init__(self) -> None:
        self.revision = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: revision, tie-breaker, future
        self._ticket = count()
        self._is_ended = False

    def reach(self, revision: int) -> None:
        """Note that everything up to `revision` is applied, and wake those who wait for that."""
        self.revision = max(self.revision, revision)
        while self._waiters and self._waiters[0][0] <= self.revision:
            _, _, waiter = heapq.heappop(self._waiters)
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, revision: int) -> None:
        """Return once `revision` is applied. Raises ShuttingDown when nothing is applied any more."""
        if self.revision >= revision:
            return
        if self._is_ended:
            raise ShuttingDown
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._ticket), waiter))
        await waiter

    def end(self) -> None:
        """Tell those who wait, and whoever will, that nothing more is applied."""
        self._is_ended = True
        for _, _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ShuttingDown())
        self._waiters.clear()
