"""Configuration as the wire tells it: from the domain's facts to messages."""

from __future__ import annotations

from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.config import Leaf
from vestryd.domain.documents import Document
from vestryd.domain.ingest import Rejection
from vestryd.domain.jsonvalue import canonical
from vestryd.domain.layers import Layer
from vestryd.domain.versions import Version
from vestryd.services.common_messages import layer_number, timestamp, violations


def version(namespace: str, one: Version, revision: int) -> pb.ConfigVersion:
    """Return the facts about a version."""
    return pb.ConfigVersion(
        namespace=namespace,
        version=one.number,
        create_time=timestamp(one.create_time),
        author=one.author,
        message=one.message,
        cause=common.Cause.ValueType(one.cause),
        checksum=one.checksum,
        revision=revision,
        rollback_of=one.rollback_of,
        changed_layers=[layer_number(layer) for layer in one.changed_layers],
    )


def layers(one: Version) -> list[pb.LayerDocument]:
    """Return a version's layers in folding order."""
    return [
        pb.LayerDocument(
            layer=layer_number(layer), document=canonical(one.layers[layer]), file=one.files.get(layer, "")
        )
        for layer in Layer
        if layer in one.layers
    ]


def update(namespace: str, one: Version, encoded: bytes) -> pb.WatchConfigResponse:
    """Return the message that tells a watcher of a version."""
    return pb.WatchConfigResponse(
        update=pb.ConfigUpdate(
            namespace=namespace,
            version=one.number,
            document=encoded,
            checksum=one.checksum,
            author=one.author,
            message=one.message,
            cause=common.Cause.ValueType(one.cause),
            create_time=timestamp(one.create_time),
        )
    )


def rejected(namespace: str, in_force: int, one: Rejection | None) -> pb.WatchConfigResponse:
    """Return the message that tells a watcher that files are rejected, or (None) are no longer."""
    told = rejection(one) if one else None
    return pb.WatchConfigResponse(rejected=pb.ConfigRejected(namespace=namespace, version=in_force, rejection=told))


def rejection(one: Rejection) -> pb.Rejection:
    """Return why files are rejected."""
    return pb.Rejection(reject_time=timestamp(one.time), violations=violations(one.violations))


def explanation(leaf: Leaf, document: Document) -> pb.LeafExplanation:
    """Return who says what about a leaf."""
    return pb.LeafExplanation(
        pointer=leaf.pointer,
        value=b"" if leaf.hidden else canonical(leaf.value),
        layer=layer_number(leaf.layer),
        opinions=[
            pb.LayerOpinion(
                layer=layer_number(layer), value=canonical(value), file=document.version.files.get(layer, "")
            )
            for layer, value in leaf.opinions.items()
        ],
    )
