"""What somebody asks of a token that is to be made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from vestryd.domain.errors import InvalidField

DEFAULT_TTL = timedelta(days=30)
MIN_TTL = timedelta(seconds=1)
MAX_TTL = timedelta(days=3653)  # ten years
MAX_GROUPS = 32
MAX_DESCRIPTION_CHARACTERS = 256

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,126}[A-Za-z0-9])?")
_ALLOWED = "1 to 128 characters of A-Z a-z 0-9 - _ . @ are allowed, with a letter or a digit at both ends"
_MAX_SHOWN = 80  # characters of a refused name in the message


@dataclass(frozen=True, slots=True)
class NewToken:
    """What kind of token to make. `groups` are those that it puts its bearer in. Raises InvalidField."""

    user: str
    groups: tuple[str, ...] = ()
    ttl: timedelta = DEFAULT_TTL
    once: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        _check_name("user", self.user)
        if len(self.groups) > MAX_GROUPS:
            raise InvalidField("groups", f"there are {len(self.groups)}: a token takes at most {MAX_GROUPS}")
        for group in self.groups:
            _check_name("groups", group)
        if not MIN_TTL <= self.ttl <= MAX_TTL:
            raise InvalidField("ttl", "it must be 1 s to 10 years")
        if len(self.description) > MAX_DESCRIPTION_CHARACTERS:
            raise InvalidField("description", f"it is longer than {MAX_DESCRIPTION_CHARACTERS} characters")


def _check_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidField(field, f"{name[:_MAX_SHOWN]!r} can't be used: {_ALLOWED}")
