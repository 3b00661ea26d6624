"""Refusals at the door, told to the audit log once a minute each at most: who hammers at it must not fill the log."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from vestry.audit_record import Outcome
from vestryd.domain.audit import Entry
from vestryd.domain.audit_trail import AuditTrail
from vestryd.domain.clock import Clock
from vestryd.domain.identity import Caller

QUIET_SECONDS = 60.0
MAX_REMEMBERED = 4096

Denial = tuple[str, str, str]  # caller's name, action, resource


@dataclass(slots=True)
class Told:
    """When a refusal was last told, and how often it has happened since."""

    at: float
    since: int = 0


class Denials:
    """Notes refusals in the audit trail. Lives as long as the daemon.

    The first of a kind is told at once. Those that follow within a minute are counted, and told with the next one after it.
    """

    def __init__(self, trail: AuditTrail, clock: Clock) -> None:
        self._trail = trail
        self._clock = clock
        self._told: OrderedDict[Denial, Told] = OrderedDict()  # oldest first

    def note(self, caller: Caller, action: str, resource: str) -> None:
        """Note that `caller` was refused `action` on `resource`. Never blocks, never fails."""
        denial, now = (caller.name, action, resource), self._clock.monotonic()
        told = self._told.get(denial)
        if told and now < told.at + QUIET_SECONDS:
            told.since += 1
            return
        facts = {"via": caller.via.value, "credential": caller.credential, "repeated": told.since if told else 0}
        facts = {name: fact for name, fact in facts.items() if fact}
        self._trail.note(Entry(caller.name, action, resource, Outcome.DENIED, facts=facts))
        self._told[denial] = Told(now)
        self._told.move_to_end(denial)
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
