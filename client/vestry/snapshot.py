"""One version of a namespace's document, and the step from one to the next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from vestry import paths
from vestry.errors import MissingKey
from vestry.frozen import freeze
from vestry.reading import Reads
from vestry.v1 import common_pb2, config_pb2


class _Values(dict[str, Any]):
    """Maps a path -> the value there, filled as paths are asked for; so a path is parsed once a version.

    Only paths that lead somewhere are kept: the document's size bounds it. Threads may fill it at the same time.
    """

    def __init__(self, document: Any) -> None:
        super().__init__()
        self._document = document

    def __missing__(self, path: str) -> Any:
        value = paths.resolve(self._document, paths.parse(path))
        self[path] = value
        return value


@dataclass(frozen=True, eq=False)
class Snapshot(Reads):
    """One version of a namespace's effective document. Immutable: what is read from one snapshot belongs together.

    `version` counts from 1 in each namespace; 0 stands for "nothing known yet". `cause` is `file`, `update` or
    `rollback`, empty when unknown. `checksum` is the SHA-256 of the canonical document. `create_time` is in UTC.
    """

    namespace: str
    version: int
    document: Any
    checksum: str = ""
    author: str = ""
    message: str = ""
    cause: str = ""
    create_time: datetime | None = None
    _values: _Values = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "document", freeze(self.document))
        object.__setattr__(self, "_values", _Values(self.document))

    @classmethod
    def from_update(cls, update: config_pb2.ConfigUpdate) -> Self:
        """Read a snapshot off the wire. Raises ValueError when the document is not JSON."""
        return cls(
            namespace=update.namespace,
            version=update.version,
            document=json.loads(update.document),
            checksum=update.checksum,
            author=update.author,
            message=update.message,
            cause=_cause_name(update.cause),
            create_time=update.create_time.ToDatetime(UTC) if update.HasField("create_time") else None,
        )

    def __getitem__(self, path: str) -> Any:
        try:
            return self._values[path]
        except KeyError:
            raise MissingKey(path, namespace=self.namespace, version=self.version) from None

    def __repr__(self) -> str:
        return f"<Snapshot of config {self.namespace!r} version {self.version}>"


@dataclass(frozen=True, slots=True)
class Change:
    """The step from what a reader saw last to what is in force now.

    A reader that falls behind gets one change over several versions: then `version` is more than one above
    `previous.version`. After a restore from a backup it may be below.
    """

    previous: Snapshot
    current: Snapshot

    @property
    def namespace(self) -> str:
        """The namespace that changed."""
        return self.current.namespace

    @property
    def version(self) -> int:
        """The version in force now."""
        return self.current.version

    @property
    def previous_version(self) -> int:
        """The version that the reader saw last."""
        return self.previous.version

    @property
    def document(self) -> Any:
        """The effective document now, frozen."""
        return self.current.document

    @property
    def author(self) -> str:
        """Who made the version in force."""
        return self.current.author

    @property
    def message(self) -> str:
        """What its author said about it."""
        return self.current.message


def _cause_name(cause: common_pb2.Cause.ValueType) -> str:
    """Return the cause's name in lower case; empty for one that is unset or newer than this client."""
    if not cause or cause not in common_pb2.Cause.values():
        return ""
    return common_pb2.Cause.Name(cause).removeprefix("CAUSE_").lower()
