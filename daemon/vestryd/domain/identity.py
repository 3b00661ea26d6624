"""Who calls: what a credential says of its bearer, in the names that a policy knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

LOCAL_ADMINISTRATOR = "local:administrator"  # root on this machine, or the user that the daemon runs as
SCHEMES = ("user:", "uid:", "spiffe://", "dns:", "cn:", "local:")  # what an identity begins with

Address = IPv4Address | IPv6Address


class Via(StrEnum):
    """How a caller made itself known."""

    NONE = "none"
    CERTIFICATE = "certificate"
    TOKEN = "token"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, as far as it is known. Replaced, never changed; the same object serves many calls.

    `name` is what logs, audit records and histories call it. `identities` are all the names that a policy may know it by,
    `name` among them: `user:alice`, `uid:1000`, `spiffe://example.org/web`, `dns:web.example.org`, `cn:web`,
    `local:administrator`. `groups` are those that the credential itself asserts, without a scheme. `credential` names the
    credential without giving it away, `expires` is when it ends (None: never). `address` is None on a unix socket.
    """

    name: str
    via: Via
    identities: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    credential: str = ""
    expires: datetime | None = None
    address: Address | None = None

    @property
    def is_known(self) -> bool:
        """Whether a credential speaks for the caller."""
        return self.via is not Via.NONE


def anonymous(address: Address | None = None) -> Caller:
    """Return the caller that brought no credential."""
    return Caller("anonymous", Via.NONE, address=address)
