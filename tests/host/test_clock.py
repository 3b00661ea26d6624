from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vestryd.domain.clock import Clock
from vestryd.host.clock import SystemClock


def test_time_is_now_in_utc() -> None:
    """The wall clock's time is now, and says that it is UTC."""
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=10)


def test_monotonic_never_goes_back() -> None:
    """Later readings of the monotonic clock are not smaller."""
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
