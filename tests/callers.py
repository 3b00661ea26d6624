"""Callers and doors for tests: everybody is known, and may do what the test says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vestryd.domain.errors import CredentialsInvalid, PermissionDenied
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.services.call import Peer

TESTER = Caller("user:tester", Via.SOCKET, frozenset({"user:tester", LOCAL_ADMINISTRATOR}))


def user(name: str, *groups: str, via: Via = Via.TOKEN) -> Caller:
    """Return a user who is known by a token."""
    return Caller(f"user:{name}", via, frozenset({f"user:{name}"}), frozenset(groups), credential=f"token {name}")


@dataclass
class KnownCallers:
    """An authenticator that takes everybody for `caller`, until the test ends its credentials."""

    caller: Caller = TESTER
    is_ended: bool = False

    def identify(self, peer: Peer, metadata: Mapping[str, str | bytes]) -> Caller:
        self.recheck(self.caller)
        return replace(self.caller, address=peer.address)

    def recheck(self, caller: Caller) -> None:
        if self.is_ended:
            raise CredentialsInvalid("the test ended them")


@dataclass
class Door:
    """A guard that lets everybody in, but where the test closed it. `asked` holds (caller's name, action, resource)."""

    closed: set[tuple[str, str]] = field(default_factory=set)  # (action, resource)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def require(self, caller: Caller, action: str, resource: str) -> None:
        self.asked.append((caller.name, action, resource))
        if (action, resource) in self.closed:
            raise PermissionDenied(caller.name, action, resource, "the test closed the door")
