"""What the watchers of configuration get to see, and when."""

from __future__ import annotations

from collections.abc import Sequence

from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.config import KIND, Configs
from vestryd.domain.documents import Document
from vestryd.domain.ingest import Rejection, Reloaded
from vestryd.domain.jsonvalue import canonical
from vestryd.services import config_messages as messages
from vestryd.services.common_messages import shutting_down
from vestryd.services.feed import Feed
from vestryd.services.feed_source import Event, Standing

MAX_MISSED_VERSIONS = 32  # how many a resuming reader gets from the store before it must make do with the newest


class ConfigSource:
    """The source of the configuration's feed: subjects are namespaces. Lives as long as the daemon serves."""

    def __init__(self, configs: Configs) -> None:
        self._configs = configs
        self._encoded: dict[str, tuple[int, bytes]] = {}  # namespace -> its version, and the update that tells of it

    def state(self, subject: str) -> Event:
        """Return the update to the current version."""
        document = self._configs.get(subject)
        return Event(document.revision, self.update(document))

    def standing(self, subject: str) -> Standing:
        """Return whether files are rejected: a reader that was told so once must hear that they no longer are."""
        rejection = self._configs.ingestion.rejection(subject)
        told = messages.rejected(subject, self._configs.get(subject).version.number, rejection)
        return Standing((told.SerializeToString(),), is_usual=rejection is None)

    async def missed(self, subject: str, after: int) -> Sequence[Event]:
        """Return the updates to the versions above revision `after`, from the store."""
        newest = self._configs.get(subject).version.number
        found = await self._configs.versions(subject, newest=newest, limit=MAX_MISSED_VERSIONS)
        return [
            Event(revision, messages.update(subject, version, canonical(version.effective)).SerializeToString())
            for version, revision in reversed(found)
            if revision > after
        ]

    def with_token(self, body: bytes, token: str) -> bytes:
        """Return the body with a resume token: serialized messages are merged by writing one behind the other."""
        return body + pb.WatchConfigResponse(resume_token=token).SerializeToString()

    def bookmark(self, token: str) -> bytes:
        """Return a bookmark."""
        return pb.WatchConfigResponse(resume_token=token, bookmark=common.Bookmark()).SerializeToString()

    def farewell(self, token: str) -> bytes:
        """Return the end of a watch."""
        return pb.WatchConfigResponse(resume_token=token, end=shutting_down()).SerializeToString()

    def update(self, document: Document) -> bytes:
        """Return the update to a document's version, encoded once for all who need it."""
        number, encoded = self._encoded.get(document.name, (0, b""))
        if number != document.version.number:
            encoded = messages.update(document.name, document.version, document.encoded).SerializeToString()
            self._encoded[document.name] = (document.version.number, encoded)
        return encoded


class ConfigPublisher:
    """Tells a feed what happens to configuration."""

    def __init__(self, feed: Feed, source: ConfigSource, configs: Configs) -> None:
        self._feed = feed
        self._source = source
        self._configs = configs

    def applied(self, revision: int, documents: Sequence[Document]) -> None:
        """Publish the new versions of a revision."""
        ours = [(one.name, self._source.update(one)) for one in documents if one.kind == KIND]
        self._feed.publish(revision, ours)

    def rejected(self, namespace: str, rejection: Rejection) -> None:
        """Publish that the files of a namespace are rejected."""
        self._tell(namespace, rejection)

    def reloaded(self, reloaded: Reloaded) -> None:
        """Publish that the files of a namespace are in order again."""
        if reloaded.ended_rejection:
            self._tell(reloaded.name, None)

    def _tell(self, namespace: str, rejection: Rejection | None) -> None:
        document = self._configs.find(namespace)
        if document is None:
            return  # nobody can watch what was never in force
        told = messages.rejected(namespace, document.version.number, rejection)
        self._feed.publish(self._feed.revision, [(namespace, told.SerializeToString())])
