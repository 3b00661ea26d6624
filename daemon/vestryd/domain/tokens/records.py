"""A bearer token: what its bearer sends, and what the store keeps of it.

    vestry_<id: 16 hexadecimal digits>_<secret: 32 random bytes as 43 characters of base64url>

    token/<id>   whom it speaks for, until when, and the SHA-256 of the secret; canonical JSON

The secret has 256 random bits, so a plain hash of it is as good as a slow one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, Self

from vestryd.domain.errors import RecordDamaged
from vestryd.domain.identity import Address, Caller, Via
from vestryd.domain.jsonvalue import canonical
from vestryd.domain.store import Entry

KEYS = "token/"
PREFIX = "vestry_"
CREDENTIAL = "token "  # before the id: what a Caller's credential is called

_ID = re.compile(r"[0-9a-f]{16}")
_TEXT = re.compile(r"vestry_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_TEXT_CHARACTERS = len(PREFIX) + 16 + 1 + 43
_NOBODYS_DIGEST = hashlib.sha256(b"").hexdigest()


class State(IntEnum):
    """Whether a token is still good. The numbers are those of the proto's enum."""

    ACTIVE = 1
    EXPIRED = 2
    REVOKED = 3
    USED = 4


@dataclass(frozen=True, slots=True)
class Secret:
    """What a bearer sends, taken apart."""

    token_id: str
    digest: str

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Return what `text` says, None when it isn't shaped like a token; that costs little, however long it is."""
        if not isinstance(text, str) or len(text) != _TEXT_CHARACTERS:
            return None
        match = _TEXT.fullmatch(text)
        return cls(match[1], _digest(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token. Replaced, never changed.

    `digest` is the SHA-256 of its secret. `ended` is REVOKED or USED once it is over before its time, which was at
    `end_time`. `revision` is the store's at which this was written, 0 before.
    """

    token_id: str
    user: str
    groups: tuple[str, ...]
    description: str
    creator: str
    create_time: datetime
    expire_time: datetime
    once: bool
    digest: str
    last_use_time: datetime | None = None
    ended: State | None = None
    end_time: datetime | None = None
    revision: int = 0

    def state(self, now: datetime) -> State:
        """Return whether it is good at `now`."""
        if self.ended:
            return self.ended
        return State.EXPIRED if now >= self.expire_time else State.ACTIVE

    def caller(self, address: Address | None) -> Caller:
        """Return whom it speaks for."""
        name = f"user:{self.user}"
        return Caller(
            name=name,
            via=Via.TOKEN,
            identities=frozenset((name,)),
            groups=frozenset(self.groups),
            credential=f"{CREDENTIAL}{self.token_id}",
            expires=self.expire_time,
            address=address,
        )

    def end(self, state: State, now: datetime) -> Token:
        """Return it as it is once it was revoked or used at `now`."""
        used = now if state is State.USED else self.last_use_time
        return replace(self, ended=state, end_time=now, last_use_time=used)

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return f"{KEYS}{self.token_id}"

    def encode(self) -> bytes:
        """Return the record that the store keeps."""
        return canonical(
            {
                "create_time": self.create_time.isoformat(),
                "creator": self.creator,
                "description": self.description,
                "digest": self.digest,
                **({"end_time": self.end_time.isoformat()} if self.end_time else {}),
                **({"ended": self.ended.name} if self.ended else {}),
                "expire_time": self.expire_time.isoformat(),
                "groups": list(self.groups),
                **({"last_use_time": self.last_use_time.isoformat()} if self.last_use_time else {}),
                "once": self.once,
                "user": self.user,
            }
        )

    @classmethod
    def decode(cls, entry: Entry) -> Token:
        """Return the token that `encode` wrote. Raises RecordDamaged."""
        token_id = entry.key.removeprefix(KEYS)
        try:
            fields = json.loads(entry.value)
            return cls(
                token_id=token_id,
                user=fields["user"],
                groups=tuple(fields["groups"]),
                description=fields["description"],
                creator=fields["creator"],
                create_time=datetime.fromisoformat(fields["create_time"]),
                expire_time=datetime.fromisoformat(fields["expire_time"]),
                once=fields["once"],
                digest=fields["digest"],
                last_use_time=_time(fields, "last_use_time"),
                ended=State[fields["ended"]] if "ended" in fields else None,
                end_time=_time(fields, "end_time"),
                revision=entry.mod_revision,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RecordDamaged("token", token_id, 1) from error


def new_secret() -> tuple[str, Secret]:
    """Return a token that never was, and what it says."""
    token_id = secrets.token_hex(8)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"{PREFIX}{token_id}_{secret}", Secret(token_id, _digest(secret))


def matches(secret: Secret, token: Token | None) -> bool:
    """Tell whether a bearer's secret is that of `token`, in the same time whether there is one or not."""
    digest = token.digest if token else _NOBODYS_DIGEST
    return hmac.compare_digest(secret.digest, digest) and token is not None


def id_in(text: str) -> str | None:
    """Return the id that `text` is, or that a whole token holds; None when it is neither."""
    if _ID.fullmatch(text):
        return text
    secret = Secret.parse(text)
    return secret.token_id if secret else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _time(fields: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(fields[name]) if name in fields else None
