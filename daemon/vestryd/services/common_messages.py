"""What all services tell alike: from the domain's facts to the messages of common.proto, and times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from vestry.v1 import common_pb2 as common
from vestryd.domain.errors import Violation
from vestryd.domain.layers import Layer
from vestryd.domain.store import Store

MAX_VIOLATIONS = 100


def violations(found: Sequence[Violation]) -> list[common.Violation]:
    """Return the first violations."""
    return [
        common.Violation(
            pointer=one.pointer,
            rule=one.rule,
            message=one.message,
            value=one.value,
            file=one.file,
            line=one.line,
            column=one.column,
        )
        for one in found[:MAX_VIOLATIONS]
    ]


def layer_number(layer: Layer) -> common.Layer.ValueType:
    """Return the proto's number of a layer: it is the domain's."""
    return common.Layer.ValueType(layer)


def store_revision(store: Store, revision: int) -> common.StoreRevision:
    """Return a revision with the names of the store's life that it belongs to."""
    return common.StoreRevision(store_id=store.store_id, incarnation=store.incarnation, revision=revision)


def timestamp(time: datetime) -> Timestamp:
    """Return a time as the wire tells it."""
    told = Timestamp()
    told.FromDatetime(time)
    return told


def shutting_down() -> common.WatchEnd:
    """Return why a watch ends when the daemon does."""
    return common.WatchEnd(
        reason=common.WATCH_END_REASON_SHUTTING_DOWN,
        message="the daemon is shutting down: connect again, and resume",
    )
