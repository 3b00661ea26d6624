"""From a credential to a caller: a bearer token, a certificate, or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol

from vestryd.domain.errors import CredentialsInvalid
from vestryd.domain.identity import Address, Caller, Via, anonymous
from vestryd.domain.tokens.local import PREFIX as LOCAL_PREFIX
from vestryd.domain.tokens.local import LocalTokens
from vestryd.domain.tokens.tokens import Tokens
from vestryd.services.call import Peer

HEADER = "authorization"  # metadata
SCHEME = "bearer "


class Certificates(Protocol):
    """What tells a caller by its certificate."""

    def caller(self, certificate: bytes, address: Address | None) -> Caller:
        """Return whom a certificate in PEM names. Raises CredentialsInvalid."""

    def recheck(self, caller: Caller) -> None:
        """Return while a caller's certificate is good. Raises CredentialsInvalid."""


class Authentication:
    """Knows callers by what they bring. A token speaks louder than the connection's certificate: it was sent on purpose."""

    def __init__(self, tokens: Tokens, local_tokens: LocalTokens, certificates: Certificates | None) -> None:
        self._tokens = tokens
        self._local_tokens = local_tokens
        self._certificates = certificates

    def identify(self, peer: Peer, metadata: Mapping[str, str | bytes]) -> Caller | Awaitable[Caller]:
        """Return the caller; an awaitable for a token that is good for one call, since using it up takes a commit.

        A certificate that is revoked is refused with a token too: gRPC lets it connect, and a thief is to get no further.
        """
        shown: Caller | None = None
        if peer.certificate and self._certificates:
            shown = self._certificates.caller(peer.certificate, peer.address)
        header = metadata.get(HEADER)
        if header is None:
            return shown or anonymous(peer.address)
        if not isinstance(header, str) or header[: len(SCHEME)].lower() != SCHEME:
            raise CredentialsInvalid("the metadata `authorization` must be `Bearer` and a token")
        token = header[len(SCHEME) :].strip()
        if token.startswith(LOCAL_PREFIX):
            return self._local_tokens.authenticate(token, peer.address)
        return self._tokens.authenticate(token, peer.address)

    def recheck(self, caller: Caller) -> None:
        """Return while the credentials of a caller are good for what it began. Raises CredentialsInvalid."""
        match caller.via:
            case Via.TOKEN:
                self._tokens.recheck(caller)
            case Via.SOCKET:
                self._local_tokens.recheck(caller)
            case Via.CERTIFICATE if self._certificates:
                self._certificates.recheck(caller)
