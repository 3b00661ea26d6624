"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When a watch gives its daemon up, and when it tries again.

    The wait before attempt n is uniform between 0 and min(`max_seconds`, `initial_seconds` x 2^n): full jitter, after
    AWS's "Exponential Backoff and Jitter"; `draw` returns numbers in [0, 1). A daemon that says nothing for
    `silence_seconds` counts as hung: it sends something at least every 10 s unless it is told otherwise, and 13 s leave
    room to notice within 15. A namespace that the daemon refuses while a view still holds it is asked for again after
    `refusal_seconds`.
    """

    initial_seconds: float = 0.2
    max_seconds: float = 10.0
    silence_seconds: float = 13.0
    refusal_seconds: float = 60.0
    draw: Callable[[], float] = random.random

    def delay_seconds(self, failures: int) -> float:
        """Return how long to wait after `failures` failures in a row; 0 failures is a daemon that said good-bye."""
        ceiling = min(self.max_seconds, self.initial_seconds * 2.0 ** min(failures, 32))
        return ceiling * self.draw()
