"""Short-lived tokens for callers on this host, whom the kernel vouches for.

    vestryl_<base64url of: what is said of the caller, as canonical JSON; the HMAC-SHA256 of that>

The key is random and never leaves this process. So nothing is kept anywhere for a token, and all of them end with the daemon.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vestryd.domain.clock import Clock
from vestryd.domain.errors import CredentialsInvalid, LimitExceeded
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Address, Caller, Via
from vestryd.domain.jsonvalue import canonical

PREFIX = "vestryl_"
MAX_CHARACTERS = 6 * 1024  # with its call's other metadata it must stay below the 8 KiB that gRPC takes
MAX_REMEMBERED = 1024  # tokens whose proof needn't be computed again
MAX_CLOCK_STEP = timedelta(seconds=60)  # so far may the clock be set back without ending tokens

_PROOF_BYTES = 32
_NOT_GOOD = "the token of the auth socket has expired, or isn't of this daemon since its last start: fetch a new one"


class LocalTokens:
    """Mints and knows the tokens of one run of the daemon. `administrators` are the uids that administer it."""

    def __init__(
        self, clock: Clock, *, lifetime_seconds: float = 600, administrators: Iterable[int] | None = None
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._administrators = frozenset({0, os.geteuid()} if administrators is None else administrators)
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[str, Caller] = OrderedDict()  # token -> its caller; the least recently used first

    def mint(self, uid: int, user: str, groups: Iterable[str]) -> tuple[str, datetime]:
        """Return a token for a process of this host, and when it ends. An empty `user` stands for a uid without a name.

        Raises LimitExceeded when the names of the groups are too many to send along with a call.
        """
        now = self._clock.now()
        claims = {"groups": sorted(groups), "time": now.timestamp(), "uid": uid, "user": user}
        body = canonical(claims)
        text = _spell(body + self._prove(body))
        if len(text) > MAX_CHARACTERS:
            raise LimitExceeded(f"the length of a token with all the groups of uid {uid}", MAX_CHARACTERS, len(text))
        return text, now + self._lifetime

    def authenticate(self, text: object, address: Address | None = None) -> Caller:
        """Return whom a token speaks for. Raises CredentialsInvalid.

        It is good on a unix socket and on the loopback alone: a token that leaves the host is worth nothing.
        """
        if address is not None and not address.is_loopback:
            raise CredentialsInvalid("a token of the auth socket is good on its own host alone")
        if not isinstance(text, str) or not text.startswith(PREFIX) or len(text) > MAX_CHARACTERS:
            raise CredentialsInvalid("the token is malformed: was it cut, or altered?")
        caller = self._known.get(text) or self._caller(text)
        self._check_time(caller)
        self._remember(text, caller)
        return caller if address is None else replace(caller, address=address)

    def recheck(self, caller: Caller) -> None:
        """Return while what a caller began may go on. Raises CredentialsInvalid.

        On the unix socket that is for as long as it likes: the kernel said who it is, and the process at the other end stays
        the same. Over TCP only the token speaks for it, which somebody else may have got hold of, and which ends.
        """
        if caller.address is not None:
            self._check_time(caller)

    def _caller(self, text: str) -> Caller:
        claims = self._claims(text)
        names = {f"uid:{claims['uid']}"}
        if claims["user"]:
            names.add(f"user:{claims['user']}")
        if claims["uid"] in self._administrators:
            names.add(LOCAL_ADMINISTRATOR)
        return Caller(
            name=caller_name(claims["uid"], claims["user"]),
            via=Via.SOCKET,
            identities=frozenset(names),
            groups=frozenset(claims["groups"]),
            expires=datetime.fromtimestamp(claims["time"], UTC) + self._lifetime,
        )

    def _claims(self, text: str) -> dict[str, Any]:
        try:
            content = base64.b64decode(text.removeprefix(PREFIX).encode("ascii"), altchars=b"-_", validate=True)
        except ValueError as error:
            raise CredentialsInvalid("the token is malformed: was it cut, or altered?") from error
        body, proof = content[:-_PROOF_BYTES], content[-_PROOF_BYTES:]
        if not hmac.compare_digest(self._prove(body), proof) or _spell(content) != text:  # base64 has several spellings
            raise CredentialsInvalid(_NOT_GOOD)
        claims: dict[str, Any] = json.loads(body)
        return claims

    def _check_time(self, caller: Caller) -> None:
        """Refuse what has ended, and what comes from a future that a clock set back has undone."""
        assert caller.expires is not None, "every token of the auth socket ends"
        now = self._clock.now()
        if not caller.expires - self._lifetime - MAX_CLOCK_STEP <= now < caller.expires:
            raise CredentialsInvalid(_NOT_GOOD)

    def _remember(self, text: str, caller: Caller) -> None:
        self._known[text] = caller
        self._known.move_to_end(text)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _prove(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def caller_name(uid: int, user: str) -> str:
    """Return what logs call a process of this host."""
    return f"user:{user}" if user else f"uid:{uid}"


def _spell(content: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(content).decode()
