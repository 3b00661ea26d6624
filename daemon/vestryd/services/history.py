"""Pages of a document's versions, newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from vestryd.domain.documents import Document
from vestryd.domain.versions import Version
from vestryd.services.paging import number_at, page_size, page_token, position_of


class Asked(Protocol):
    """The request for a page."""

    page_size: int
    page_token: str


class Read(Protocol):
    """What reads versions from the store."""

    def __call__(self, *, newest: int, limit: int) -> Awaitable[Sequence[tuple[Version, int]]]:
        """Return up to `limit` versions and their revisions, from number `newest` downwards."""


async def page_of(document: Document, request: Asked, read: Read) -> tuple[Sequence[tuple[Version, int]], str]:
    """Return a page of versions with their revisions, and the token of the next one, empty on the last."""
    scope = f"versions/{document.kind}/{document.name}"
    position = position_of(scope, request.page_token)
    newest = min(number_at(position), document.head.version) if position else document.head.version
    found = await read(newest=newest, limit=page_size(request.page_size))
    following = found[-1][0].number - 1 if found else 0
    return found, page_token(scope, str(following)) if following >= document.head.oldest else ""
