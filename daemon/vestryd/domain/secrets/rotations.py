"""Rotates secrets whose period is over and that have a generator, and tells of the others that they are due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

from vestryd.domain.audit import DAEMON
from vestryd.domain.audited import Act
from vestryd.domain.clock import Clock
from vestryd.domain.errors import VersionMismatch, VestryError
from vestryd.domain.secrets.changes import Moment, Plan, check_current, rotate
from vestryd.domain.secrets.events import Change, SecretEvent
from vestryd.domain.secrets.generators import Generated, Generator, KeyPair, generate
from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.registry import Registry
from vestryd.domain.secrets.schedule import Schedule
from vestryd.domain.secrets.writer import Writer

CHECK_SECONDS = 1.0
RETRY = timedelta(minutes=1)


class Rotations:
    """The daemon's own rotations. Lives as long as the daemon; without secrets in memory there is nothing to do.

    `on_due` hears of rotations that fell due, or became overdue, and of those that failed; it neither waits nor raises.
    """

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self.on_due: Callable[[tuple[Change, ...]], None] = lambda _changes: None
        self._writer = writer
        self._clock = clock
        self._schedule = Schedule()

    def begin(self, heads: Iterable[Head]) -> None:
        """Take in all secrets; none, when they are sealed."""
        self._schedule = Schedule(heads)

    def note(self, head: Head) -> None:
        """Take in what is known of a secret now."""
        self._schedule.note(head)

    def count(self) -> tuple[int, int]:
        """Return how many rotations are due, the overdue ones left out, and how many are overdue."""
        return self._schedule.count(self._clock.now())

    async def run(self) -> None:
        """Look every second, until the daemon ends."""
        while True:
            await self.sweep()
            await asyncio.sleep(CHECK_SECONDS)

    async def sweep(self) -> None:
        """Rotate what is due now, or tell of it; what fails is tried again in a minute."""
        schedule, now = self._schedule, self._clock.now()
        due = [head for head in [*schedule.due(now)] if not await self._rotate(head)]
        for head in due:
            if _is_rotated_here(head):
                schedule.retry(head, now + RETRY)
        if due:
            self.on_due(tuple(Change(head, SecretEvent.ROTATION_DUE) for head in due))

    async def _rotate(self, head: Head) -> bool:
        """Rotate a secret if that is the daemon's to do, and tell whether it was done, be it by another instance."""
        policy = head.settings.rotation
        if policy is None or policy.generator is None or head.pending or head.is_expired(self._clock.now()):
            return False

        def make(registry: Registry, moment: Moment) -> list[Plan]:
            now = registry.get(head.namespace, head.name)
            check_current(head.namespace, head.name, now.current, head.current)
            return [rotate(now, made, None, moment)]

        try:
            made = await generated(policy.generator)
            await self._writer.write(Act(DAEMON, "secrets.rotate", head.path), make, "secrets.rotate")
        except VersionMismatch:
            return True
        except VestryError:
            return False
        return True


async def generated(content: bytes | Generator) -> Generated:
    """Return the value that is given or made; a key pair is made in a thread, since RSA takes its time."""
    if isinstance(content, bytes):
        return Generated(content)
    return await asyncio.to_thread(generate, content) if isinstance(content, KeyPair) else generate(content)


def _is_rotated_here(head: Head) -> bool:
    return head.settings.rotation is not None and head.settings.rotation.is_automatic
