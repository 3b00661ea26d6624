"""What a handler knows of the call that it answers, whatever wire it came over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vestryd.services.methods import Method


@dataclass(slots=True)
class Call:
    """One call, from its arrival to its answer.

    `caller` names who calls, as far as that is known. `arrival` is on the monotonic clock. A handler adds to `facts` what
    the request's log line should say beside the usual, and to `trailing` metadata for the caller; neither ever holds a
    payload.
    """

    method: Method
    caller: str
    request_id: str
    arrival: float
    timeout_seconds: float
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    trailing: list[tuple[str, str | bytes]] = field(default_factory=list)

    def remaining(self) -> float:
        """Return the seconds until the deadline; negative once it is over."""
        return self.arrival + self.timeout_seconds - time.monotonic()
