"""From a credential to a caller."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isawaitable
from ipaddress import ip_address

import pytest

from domain.tokens.desk import Desk, desk
from engine import FakeClock
from vestryd.domain.errors import CredentialsInvalid
from vestryd.domain.identity import Address, Caller, Via
from vestryd.domain.tokens.local import LocalTokens
from vestryd.services.authentication import Authentication
from vestryd.services.call import Peer

ADDRESS = ip_address("10.0.0.7")
WEB = Caller("dns:web", Via.CERTIFICATE, frozenset({"dns:web"}), credential="certificate 1", address=ADDRESS)


class FakeCertificates:
    """Knows one caller, until it is revoked."""

    is_revoked = False

    def caller(self, certificate: bytes, address: Address | None) -> Caller:
        self.recheck(WEB)
        return WEB

    def recheck(self, caller: Caller) -> None:
        if self.is_revoked:
            raise CredentialsInvalid("the certificate is revoked")


def authentication(at: Desk, certificates: FakeCertificates | None = None) -> Authentication:
    return Authentication(at.tokens, LocalTokens(FakeClock()), certificates)


async def identified(by: Authentication, peer: Peer, metadata: Mapping[str, str | bytes]) -> Caller:
    found = by.identify(peer, metadata)
    return await found if isawaitable(found) else found


async def test_a_token_speaks_louder_than_a_certificate() -> None:
    """It was sent on purpose; without one the certificate speaks, and without both nobody does."""
    async with desk() as at:
        by, (text, _) = authentication(at, FakeCertificates()), await at.make("alice")
        shown = Peer(ADDRESS, b"pem")
        assert (await identified(by, shown, {"authorization": f"Bearer {text}"})).name == "user:alice"
        assert (await identified(by, shown, {})).name == "dns:web"
        assert not (await identified(by, Peer(ADDRESS), {})).is_known


async def test_a_revoked_certificate_is_refused_with_a_token_too() -> None:
    """The token itself is good; one that is good for one call isn't used up by that."""
    certificates = FakeCertificates()
    async with desk() as at:
        by, (text, _) = authentication(at, certificates), await at.make("alice", once=True)
        certificates.is_revoked = True
        with pytest.raises(CredentialsInvalid, match="revoked"):
            await identified(by, Peer(ADDRESS, b"pem"), {"authorization": f"Bearer {text}"})
        assert (await identified(by, Peer(ADDRESS), {"authorization": f"Bearer {text}"})).name == "user:alice"


async def test_a_local_callers_stream_goes_on_where_the_kernel_vouches_for_it() -> None:
    """On the unix socket, after its token has ended too; over TCP it ends with the token."""
    clock = FakeClock()
    async with desk(clock=clock) as at:
        local = LocalTokens(clock)
        by = Authentication(at.tokens, local, None)
        text, _ = local.mint(1000, "alice", [])
        callers = [
            await identified(by, Peer(address), {"authorization": f"Bearer {text}"})
            for address in (None, ip_address("127.0.0.1"))
        ]
        for caller in callers:
            by.recheck(caller)
        clock.advance(seconds=local.lifetime_seconds)
        by.recheck(callers[0])
        with pytest.raises(CredentialsInvalid):
            by.recheck(callers[1])


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic x", "bearer_x", b"Bearer x", "Bearer a, Bearer b", "Bearer \0", "A" * 9000],
)
async def test_anything_else_in_the_header_is_refused(header: str | bytes) -> None:
    """It doesn't fall back to the certificate, nor to nobody."""
    async with desk() as at:
        with pytest.raises(CredentialsInvalid):
            await identified(authentication(at, FakeCertificates()), Peer(ADDRESS, b"pem"), {"authorization": header})
