"""What each method has answered since the daemon started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Figures:
    """The figures of one method; `seconds` is the sum over the calls that have ended."""

    calls: int = 0
    failures: int = 0
    in_flight: int = 0
    seconds: float = 0.0

    def begin(self) -> None:
        """Count a call that arrived."""
        self.in_flight += 1

    def end(self, seconds: float, *, failed: bool) -> None:
        """Count a call that ended."""
        self.in_flight -= 1
        self.calls += 1
        self.failures += failed
        self.seconds += seconds
