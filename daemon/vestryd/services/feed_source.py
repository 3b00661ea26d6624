"""What a feed sends, and what it asks of the service that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a subject at a revision, as the bytes of one message of the watch.

    `number` counts the events that were published, all subjects together: one revision may have several.
    """

    revision: int
    body: bytes
    number: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What no revision tells of a subject, as the bytes of messages. A new reader takes the usual for granted."""

    bodies: tuple[bytes, ...]
    is_usual: bool


class Source(Protocol):
    """What a feed asks of the service that it belongs to. Bodies are serialized messages without a resume token."""

    def state(self, subject: str) -> Event:
        """Return the subject's newest state. Raises a domain error when the subject is unknown."""

    def standing(self, subject: str) -> Standing:
        """Return how the subject stands, for a reader that may have been told otherwise."""

    async def missed(self, subject: str, after: int) -> Sequence[Event]:
        """Return the events above revision `after`, oldest first, as far back as is reasonable; the newest for sure.

        What is newest is decided before the first wait.
        """

    def with_token(self, body: bytes, token: str) -> bytes:
        """Return the body with a resume token."""

    def bookmark(self, token: str) -> bytes:
        """Return the message that says that everything up to a token was delivered."""

    def farewell(self, token: str) -> bytes:
        """Return the last message of a watch that ends because the daemon shuts down. An empty token says nothing."""
