"""What the watchers of secrets get to see, and when. Never a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vestry.v1 import common_pb2 as common
from vestry.v1 import secrets_pb2 as pb
from vestryd.domain.clock import Clock
from vestryd.domain.errors import Sealed
from vestryd.domain.secrets.events import Change, SecretEvent
from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.rotation import RotationState
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.vault import Vault
from vestryd.services import secret_messages as messages
from vestryd.services.common_messages import shutting_down
from vestryd.services.feed import Feed
from vestryd.services.feed_source import Event, Standing

_LATE = frozenset({RotationState.DUE, RotationState.OVERDUE})


class SecretSource:
    """The source of the secrets' feed: subjects are namespaces, whether there is anything in them or not.

    Lives as long as the daemon serves. What it says of a namespace is encoded once, until something changes there.
    """

    def __init__(self, secrets: Secrets, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._states: dict[str, Event] = {}  # namespace -> all of its secrets

    def state(self, subject: str) -> Event:
        """Return all secrets of a namespace. Raises Sealed."""
        if subject in self._states:
            return self._states[subject]
        heads = self._secrets.state(subject)
        body = messages.state(subject, heads, self._clock.now()).SerializeToString()
        found = Event(self._secrets.revision, body)
        if heads:  # else anybody could fill the memory with names of nothing
            self._states[subject] = found
        return found

    def standing(self, subject: str) -> Standing:
        """Return whose rotation is due: no revision tells when that began. The state tells it to a new reader."""
        now = self._clock.now()
        due = [head for head in self._secrets.state(subject) if head.rotation_state(now) in _LATE]
        return Standing(tuple(self._due(head, now) for head in due), is_usual=True)

    async def missed(self, subject: str, after: int) -> Sequence[Event]:  # noqa: ARG002 - the state tells it all
        """Return the newest state: of what happened to secrets, only their own versions are kept."""
        return [self.state(subject)]

    def with_token(self, body: bytes, token: str) -> bytes:
        """Return the body with a resume token: serialized messages are merged by writing one behind the other."""
        return body + pb.WatchSecretsResponse(resume_token=token).SerializeToString()

    def bookmark(self, token: str) -> bytes:
        """Return a bookmark."""
        return pb.WatchSecretsResponse(resume_token=token, bookmark=common.Bookmark()).SerializeToString()

    def farewell(self, token: str) -> bytes:
        """Return the end of a watch."""
        return pb.WatchSecretsResponse(resume_token=token, end=shutting_down()).SerializeToString()

    def change(self, change: Change) -> bytes:
        """Return the message of a change, after which the namespace's state is another one."""
        self._states.pop(change.head.namespace, None)
        return messages.change(change, self._clock.now()).SerializeToString()

    def forget(self) -> None:
        """Drop what was encoded: the secrets are sealed."""
        self._states.clear()

    def _due(self, head: Head, now: datetime) -> bytes:
        return messages.change(Change(head, SecretEvent.ROTATION_DUE), now).SerializeToString()


class SecretPublisher:
    """Tells a feed what happens to secrets, from when it is made. It takes the hooks that it needs."""

    def __init__(self, feed: Feed, source: SecretSource, secrets: Secrets, vault: Vault) -> None:
        self._feed = feed
        self._source = source
        self._secrets = secrets
        self._vault = vault
        secrets.on_changed = self.changed
        vault.on_sealed.append(self.sealed)
        vault.on_opened.append(self.opened)

    def changed(self, revision: int, changes: Sequence[Change]) -> None:
        """Publish what a revision, or the time, changed."""
        self._feed.publish(revision, [(one.head.namespace, self._source.change(one)) for one in changes])

    def sealed(self) -> None:
        """End the watches, since nothing can be told them any more."""
        self._source.forget()
        self._feed.interrupt(self._vault.why_sealed or Sealed(self._vault.problem))

    async def opened(self) -> None:
        """Begin again: what happened while the secrets were sealed was not published."""
        self._feed.skip_to(self._secrets.revision)
