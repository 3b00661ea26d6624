"""The machine's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Tells the machine's time; it is a `domain.clock.Clock`."""

    def now(self) -> datetime:
        """Return the wall clock's time, with UTC as its time zone."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        return time.monotonic()
