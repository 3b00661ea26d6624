"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_STEP_SECONDS = 0.005


async def eventually(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Return once `condition` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(_STEP_SECONDS)


def eventually_here(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait as `eventually` does, in a thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(_STEP_SECONDS)
