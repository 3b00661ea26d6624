"""What the fake daemon keeps: versions of layered documents, with one rule instead of a schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from vestry.v1 import common_pb2, config_pb2

Layer: TypeAlias = "common_pb2.Layer.ValueType"
Layers: TypeAlias = Mapping[Layer, Any]

LAYERS: tuple[Layer, ...] = (
    common_pb2.LAYER_DEFAULT,
    common_pb2.LAYER_ENVIRONMENT,
    common_pb2.LAYER_OVERRIDE,
    common_pb2.LAYER_RUNTIME,
)
FILES = {
    common_pb2.LAYER_DEFAULT: "/etc/vestry/default.json",
    common_pb2.LAYER_ENVIRONMENT: "/etc/vestry/production.json",
    common_pb2.LAYER_OVERRIDE: "/etc/vestry/override.json",
}
SCHEMA = {"properties": {"server": {"properties": {"port": {"maximum": 65535}}}}}


def encode(value: Any) -> bytes:
    """Return canonical JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def merge(target: Any, patch: Any) -> Any:
    """Apply an RFC 7396 merge patch."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def fold(layers: Layers) -> Any:
    """Return the effective document."""
    effective: Any = {}
    for layer in LAYERS:
        if layer in layers:
            effective = merge(effective, layers[layer])
    return effective


def leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf and its pointer; an empty document has none."""
    if isinstance(value, dict) and value:
        for key, member in sorted(value.items()):
            yield from leaves(member, f"{pointer}/{key}")
    elif pointer:
        yield pointer, value


def patch_between(old: Any, new: Any, pointer: str = "") -> Iterator[dict[str, Any]]:
    """Yield the operations of an RFC 6902 patch; arrays are replaced whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield {"op": "remove", "path": f"{pointer}/{key}"}
            elif key not in old:
                yield {"op": "add", "path": f"{pointer}/{key}", "value": new[key]}
            else:
                yield from patch_between(old[key], new[key], f"{pointer}/{key}")
    elif encode(old) != encode(new):
        yield {"op": "replace", "path": pointer, "value": new}


def violations(document: Any) -> list[common_pb2.Violation]:
    """Return what is wrong with an effective document: only that a port is over 65535."""
    port = document.get("server", {}).get("port", 0) if isinstance(document.get("server"), dict) else 0
    if isinstance(port, int) and port <= 65535:
        return []
    return [
        common_pb2.Violation(
            pointer="/server/port", rule="maximum", message=f"{port} is more than 65535", value=json.dumps(port)
        )
    ]


@dataclass
class Version:
    """One version. `update` has its facts and its effective document."""

    update: config_pb2.ConfigUpdate
    layers: Layers
    rollback_of: int = 0


@dataclass
class Document:
    """A namespace's document and its history."""

    namespace: str
    versions: list[Version] = field(default_factory=list)
    rejection: config_pb2.Rejection | None = None
    drifted: frozenset[Layer] = frozenset()

    @property
    def current(self) -> Version:
        """The version in force."""
        return self.versions[-1]

    @property
    def effective(self) -> Any:
        """The document in force."""
        return json.loads(self.current.update.document)

    def add(
        self,
        layers: Layers,
        *,
        cause: common_pb2.Cause.ValueType = common_pb2.CAUSE_FILE,
        author: str = "files",
        message: str = "",
        rollback_of: int = 0,
    ) -> Version:
        """Make a version."""
        content = encode(fold(layers))
        update = config_pb2.ConfigUpdate(
            namespace=self.namespace,
            version=len(self.versions) + 1,
            document=content,
            checksum=hashlib.sha256(content).hexdigest(),
            author=author,
            message=message,
            cause=cause,
            create_time=Timestamp(seconds=1_790_000_000 + len(self.versions)),
        )
        version = Version(update, dict(layers), rollback_of)
        self.versions.append(version)
        return version

    def facts(self, number: int) -> config_pb2.ConfigVersion:
        """Return the facts about a version."""
        version = self.versions[number - 1]
        before: Layers = self.versions[number - 2].layers if number > 1 else {}
        return config_pb2.ConfigVersion(
            namespace=self.namespace,
            version=number,
            create_time=version.update.create_time,
            author=version.update.author,
            message=version.update.message,
            cause=version.update.cause,
            checksum=version.update.checksum,
            revision=100 + number,
            rollback_of=version.rollback_of,
            changed_layers=[layer for layer in LAYERS if version.layers.get(layer) != before.get(layer)],
        )
