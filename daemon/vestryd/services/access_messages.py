"""The access policy as the wire tells it: from the domain's facts to messages."""

from __future__ import annotations

from collections.abc import Iterable

from vestry.v1 import access_pb2 as pb
from vestry.v1 import common_pb2 as common
from vestryd.domain.access import NAME
from vestryd.domain.documents import Document
from vestryd.domain.ingest import Ingestion
from vestryd.domain.jsonvalue import canonical, checksum
from vestryd.domain.layers import Layer
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.domain.versions import Version
from vestryd.services.common_messages import layer_number, timestamp


def built_in(revision: common.StoreRevision) -> pb.GetPolicyResponse:
    """Return the policy that is in force while there is none: as the runtime layer that the first change begins with."""
    document = canonical(BUILT_IN)
    return pb.GetPolicyResponse(
        document=document,
        checksum=checksum(document),
        layers=[pb.PolicyLayer(layer=common.LAYER_RUNTIME, document=document)],
        revision=revision,
    )


def policy(version: Version, layers: Iterable[pb.PolicyLayer], revision: common.StoreRevision) -> pb.GetPolicyResponse:
    """Return one version of the policy."""
    return pb.GetPolicyResponse(
        version=version.number,
        document=canonical(version.effective),
        checksum=version.checksum,
        layers=layers,
        revision=revision,
    )


def layers(version: Version) -> list[pb.PolicyLayer]:
    """Return what each layer said in a version."""
    return [layer(version, one) for one in Layer if one in version.layers]


def current_layers(document: Document, ingestion: Ingestion) -> list[pb.PolicyLayer]:
    """Return what each layer says now; one that says nothing is told if there is a file that does."""
    found = []
    for one in Layer:
        is_drifted = ingestion.is_drifted(document, one)
        if is_drifted or one in document.version.layers:
            told = layer(document.version, one)
            told.drifted = is_drifted
            told.file = told.file or ingestion.path_of(NAME, one)
            found.append(told)
    return found


def layer(version: Version, one: Layer) -> pb.PolicyLayer:
    """Return what a layer said in a version."""
    content = version.layers.get(one)
    return pb.PolicyLayer(
        layer=layer_number(one),
        document=b"" if content is None else canonical(content),
        file=version.files.get(one, ""),
    )


def version(one: Version) -> pb.PolicyVersion:
    """Return the facts about a version."""
    return pb.PolicyVersion(
        version=one.number,
        author=one.author,
        message=one.message,
        cause=common.Cause.ValueType(one.cause),
        create_time=timestamp(one.create_time),
        changed_layers=[layer_number(layer) for layer in one.changed_layers],
        rollback_of=one.rollback_of,
    )
