"""Page sizes and page tokens, the same in every list."""

from __future__ import annotations

import base64
from datetime import datetime

from vestryd.domain.errors import InvalidField, InvalidPageToken

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """Return how many items to give: the default for 0, at most the maximum. Raises InvalidField if negative."""
    if asked < 0:
        raise InvalidField("page_size", f"it can't be negative: use 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}")
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def page_token(scope: str, position: str) -> str:
    """Return the token of the page that begins at `position`. `scope` names the list, so that tokens don't mix."""
    return base64.urlsafe_b64encode(f"{scope}\n{position}".encode()).decode()


def position_of(scope: str, token: str) -> str:
    """Return where the page of a token begins, empty for an empty token. Raises InvalidPageToken."""
    if not token:
        return ""
    try:
        found, _, position = (
            base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode().partition("\n")
        )
    except ValueError as error:
        raise InvalidPageToken from error
    if found != scope:
        raise InvalidPageToken
    return position


def number_at(position: str) -> int:
    """Return the number that a position is. Raises InvalidPageToken."""
    try:
        return int(position)
    except ValueError as error:
        raise InvalidPageToken from error


def time_position(time: datetime, name: str) -> str:
    """Return the position of what is ordered by a time, and then by a name."""
    return f"{time.isoformat()} {name}"


def time_at(position: str) -> tuple[datetime, str]:
    """Return the time and the name that `time_position` put together. Raises InvalidPageToken."""
    text, _, name = position.partition(" ")
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidPageToken from error
    if time.tzinfo is None:
        raise InvalidPageToken
    return time, name
