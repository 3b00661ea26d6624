"""Which rotations fall due, and when: those of the secrets with a period."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.rotation import RotationState

Name = tuple[str, str]  # namespace and name

_TICK = timedelta(microseconds=1)  # a rotation is overdue once its time is over


class Schedule:
    """The times at which rotations fall due and become overdue. Lives as long as what it was made of is in memory."""

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        self._heads: dict[Name, Head] = {}
        self._times: list[tuple[datetime, Name]] = []  # a heap; what no longer holds is skipped when its time comes
        for head in heads:
            self.note(head)

    def note(self, head: Head) -> None:
        """Take in what is known of a secret now."""
        due, overdue = head.next_rotation_time, head.overdue_time
        if due is None or overdue is None:
            self._heads.pop(_name(head), None)
            return
        before = self._heads.get(_name(head))
        self._heads[_name(head)] = head
        if before is None or before.next_rotation_time != due or before.overdue_time != overdue:
            heapq.heappush(self._times, (due, _name(head)))
            heapq.heappush(self._times, (overdue + _TICK, _name(head)))

    def retry(self, head: Head, time: datetime) -> None:
        """Have the secret come up again."""
        heapq.heappush(self._times, (time, _name(head)))

    def due(self, now: datetime) -> Iterator[Head]:
        """Yield the secrets whose rotation fell due, or became overdue, or is to be tried again, since the last time."""
        while self._times and self._times[0][0] <= now:
            _, name = heapq.heappop(self._times)
            head = self._heads.get(name)
            if head is not None and head.rotation_state(now) in {RotationState.DUE, RotationState.OVERDUE}:
                yield head

    def count(self, now: datetime) -> tuple[int, int]:
        """Return how many rotations are due, the overdue ones left out, and how many are overdue."""
        states = [head.rotation_state(now) for head in self._heads.values()]
        return states.count(RotationState.DUE), states.count(RotationState.OVERDUE)


def _name(head: Head) -> Name:
    return head.namespace, head.name
