"""Refusals at the door, told to the audit log sparingly: who hammers at it must fill neither the log nor the memory.

Each is told once a minute at most, and of one caller only so many different ones: a log that is full refuses secrets to all.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from vestry.audit_record import Outcome
from vestryd.domain.audit import MAX_TEXT_CHARACTERS, Entry
from vestryd.domain.audit_trail import AuditTrail
from vestryd.domain.clock import Clock
from vestryd.domain.identity import Caller

QUIET_SECONDS = 60.0
MAX_REMEMBERED = 4096
MAX_TOLD = 30  # different refusals of one caller in a minute

K = TypeVar("K")
V = TypeVar("V")

Denial = tuple[str, str, str]  # caller's name, action, resource


@dataclass(slots=True)
class Told:
    """When a refusal was last told, and how often it has happened since."""

    at: float
    since: int = 0


@dataclass(slots=True)
class Minute:
    """A caller's present minute: when it began, how many refusals it told of and how many not; and that of the one before."""

    start: float
    untold_before: int
    told: int = 0
    untold: int = 0


class Denials:
    """Notes refusals in the audit trail. Lives as long as the daemon.

    The first of a kind is told at once. Those that follow within a minute are counted, and told with the next one after it
    (`repeated`). The last of the different ones that a caller has a minute says that it is (`muted`); how many followed is
    told with the caller's next one (`untold`).
    """

    def __init__(self, trail: AuditTrail, clock: Clock) -> None:
        self._trail = trail
        self._clock = clock
        self._told: OrderedDict[Denial, Told] = OrderedDict()  # oldest first
        self._minutes: OrderedDict[str, Minute] = OrderedDict()  # caller's name -> its minute; oldest first

    def note(self, caller: Caller, action: str, resource: str) -> None:
        """Note that `caller` was refused `action` on `resource`. Never blocks, never fails."""
        denial, now = (caller.name, action, resource[:MAX_TEXT_CHARACTERS]), self._clock.monotonic()
        told = self._told.get(denial)
        if told and now < told.at + QUIET_SECONDS:
            told.since += 1
            return
        minute = self._minute_of(caller.name, now)
        if minute.told == MAX_TOLD:
            minute.untold += 1
            return
        minute.told += 1
        facts = {
            "via": caller.via.value,
            "credential": caller.credential,
            "repeated": told.since if told else 0,
            "untold": minute.untold_before if minute.told == 1 else 0,
            "muted": minute.told == MAX_TOLD,
        }
        facts = {name: fact for name, fact in facts.items() if fact}
        self._trail.note(Entry(caller.name, action, resource, Outcome.DENIED, facts=facts))
        _remember(self._told, denial, Told(now))

    def _minute_of(self, name: str, now: float) -> Minute:
        minute = self._minutes.get(name)
        if minute is None or now >= minute.start + QUIET_SECONDS:
            minute = Minute(now, minute.untold if minute else 0)
            _remember(self._minutes, name, minute)
        return minute


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    """Put what is newest last, and forget what is oldest."""
    known[key] = value
    known.move_to_end(key)
    while len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
