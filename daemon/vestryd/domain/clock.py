"""The time, as something that is handed in."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the wall clock's time, with UTC as its time zone."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
