"""What a handler knows of the call that it answers, whatever wire it came over."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vestryd.domain.errors import VestryError
from vestryd.domain.identity import Address, Caller, anonymous
from vestryd.services.methods import Method

UNKNOWN = anonymous()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: its address (None on a unix socket), and its certificate in PEM if it showed one."""

    address: Address | None = None
    certificate: bytes = b""


class Authenticator(Protocol):
    """What the pipeline asks who calls."""

    def identify(self, peer: Peer, metadata: Mapping[str, str | bytes]) -> Caller | Awaitable[Caller]:
        """Return the caller: anonymous without credentials. Raises CredentialsInvalid for bad ones."""

    def recheck(self, caller: Caller) -> None:
        """Return while the credentials of a caller are good. Raises CredentialsInvalid."""


@dataclass(slots=True)
class Call:
    """One call, from its arrival to its answer.

    `caller` is who calls, once that is known; a handler may count on it. `arrival` is on the monotonic clock. `ended` is set
    while the call is under way when its caller may no longer have it. A handler adds to `facts` what the request's log line
    should say beside the usual, and to `trailing` metadata for the caller; neither ever holds a payload.
    """

    method: Method
    peer: Peer
    request_id: str
    arrival: float
    timeout_seconds: float
    caller: Caller = UNKNOWN
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    trailing: list[tuple[str, str | bytes]] = field(default_factory=list)
    ended: VestryError | None = None

    def remaining(self) -> float:
        """Return the seconds until the deadline; negative once it is over."""
        return self.arrival + self.timeout_seconds - time.monotonic()
