"""Who wants to hear of a secret's rotations."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_FAILED = "secrets.callback_failed secret=%s version=%d"

Called = Callable[[], Awaitable[None] | None]


class RotationSubscription:
    """A callback's registration. Lives until `cancel`, or until its client is closed.

    A callback that returns something to await is awaited in a task, one at a time: rotations meanwhile make one more call
    once it is done, not a queue.
    """

    def __init__(self, call: Called, *, seen: int, forget: Callable[[RotationSubscription], None], secret: str) -> None:
        self._call = call
        self._seen = seen  # the current version that it knows of; 0 before it has heard of one
        self._forget = forget
        self._secret = secret
        self._task: asyncio.Task[None] | None = None
        self._is_due = False

    def cancel(self) -> None:
        """Stop the calls; one that is under way finishes. Idempotent."""
        self._forget(self)

    def notify(self, version: int) -> None:
        """Call the callback if `version` is news to it. What it raises is logged, and hurts nobody else."""
        before, self._seen = self._seen, version
        if before in {0, version}:
            return
        if self._task is not None and not self._task.done():
            self._is_due = True
            return
        outcome = self._started()
        if outcome is not None:
            self._task = asyncio.get_running_loop().create_task(self._finish(outcome))

    def end(self) -> asyncio.Task[None] | None:
        """Interrupt the call that is awaited, if one is, and return its task: the client is closed."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    def _started(self) -> Awaitable[None] | None:
        try:
            outcome = self._call()
        except Exception:
            log.exception(_FAILED, self._secret, self._seen)
            return None
        return outcome if inspect.isawaitable(outcome) else None

    async def _finish(self, outcome: Awaitable[None] | None) -> None:
        while outcome is not None:
            try:
                await outcome
            except Exception:
                log.exception(_FAILED, self._secret, self._seen)
            outcome = None
            if self._is_due:
                self._is_due = False
                outcome = self._started()
