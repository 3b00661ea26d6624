"""What the store holds of a document: its head, its versions, its schemas, and the requests that were answered.

    head/<kind>/<name>                     which version is current, the oldest that is kept, what was last ingested
    version/<kind>/<name>/<000000000042>   one immutable version: its layers, and the checksum of what they fold to
    schema/<kind>/<name>/<sha256>          one immutable schema
    request/<sha256>                       what a request with a request_id was answered

A change writes the head and the new version in one commit that expects the head unchanged. Everything is canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from vestryd.domain.errors import RecordDamaged
from vestryd.domain.jsonvalue import Json, canonical, checksum
from vestryd.domain.layers import Folded, Layer, fold

HEADS = "head/"
REQUESTS = "request/"


class Cause(IntEnum):
    """What caused a version. The numbers are those of the proto's enum."""

    FILE = 1
    UPDATE = 2
    ROLLBACK = 3


class Slot(StrEnum):
    """What a file of a document's directory is: its schema, or one of its layers."""

    SCHEMA = "schema"
    DEFAULT = "default"
    ENVIRONMENT = "environment"
    OVERRIDE = "override"

    @property
    def layer(self) -> Layer | None:
        """The layer that the file holds; None for the schema."""
        return None if self is Slot.SCHEMA else Layer[self.name]


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a document.

    `checksum` is the SHA-256 of the effective document's canonical JSON, `schema` that of the schema that it met (empty:
    none). `files` names the file that each layer came from. `rollback_of` is 0 unless `cause` is ROLLBACK. `call_id` is the
    id that the daemon's log gives to the call that made it, empty when none did.
    """

    number: int
    layers: Mapping[Layer, Json]
    folded: Folded
    checksum: str
    schema: str
    author: str
    message: str
    create_time: datetime
    cause: Cause
    changed_layers: tuple[Layer, ...]
    rollback_of: int
    files: Mapping[Layer, str]
    call_id: str = ""

    @property
    def effective(self) -> Json:
        """The effective document: the layers, folded."""
        return self.folded.effective

    def encode(self) -> bytes:
        """Return the record that the store keeps."""
        return canonical(
            {
                "author": self.author,
                **({"call_id": self.call_id} if self.call_id else {}),
                "cause": self.cause.name,
                "changed_layers": [layer.name for layer in self.changed_layers],
                "checksum": self.checksum,
                "create_time": self.create_time.isoformat(),
                "files": {layer.name: file for layer, file in self.files.items()},
                "layers": {layer.name: content for layer, content in self.layers.items()},
                "message": self.message,
                "number": self.number,
                "rollback_of": self.rollback_of,
                "schema": self.schema,
            }
        )

    @classmethod
    def decode(cls, record: bytes, kind: str, name: str) -> Version:
        """Return the version that `encode` wrote. Raises RecordDamaged when it doesn't add up to its checksum."""
        fields = json.loads(record)
        layers = {Layer[name]: content for name, content in fields["layers"].items()}
        folded = fold(layers)
        if checksum(canonical(folded.effective)) != fields["checksum"]:
            raise RecordDamaged(kind, name, fields["number"])
        return cls(
            number=fields["number"],
            layers=layers,
            folded=folded,
            checksum=fields["checksum"],
            schema=fields["schema"],
            author=fields["author"],
            message=fields["message"],
            call_id=fields.get("call_id", ""),
            create_time=datetime.fromisoformat(fields["create_time"]),
            cause=Cause[fields["cause"]],
            changed_layers=tuple(Layer[name] for name in fields["changed_layers"]),
            rollback_of=fields["rollback_of"],
            files={Layer[name]: file for name, file in fields["files"].items()},
        )


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was last taken in from one file: the checksum of its content as canonical JSON (empty: the file was absent)."""

    checksum: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """Which version is current, the oldest that is kept, and what was last ingested from each file."""

    version: int
    oldest: int
    ingested: Mapping[Slot, Ingested]

    def encode(self) -> bytes:
        """Return the record that the store keeps."""
        return canonical(
            {
                "version": self.version,
                "oldest": self.oldest,
                "ingested": {
                    slot.value: {"checksum": one.checksum, "time": one.time.isoformat()}
                    for slot, one in self.ingested.items()
                },
            }
        )

    @classmethod
    def decode(cls, record: bytes) -> Head:
        """Return the head that `encode` wrote."""
        fields = json.loads(record)
        return cls(
            version=fields["version"],
            oldest=fields["oldest"],
            ingested={
                Slot(name): Ingested(one["checksum"], datetime.fromisoformat(one["time"]))
                for name, one in fields["ingested"].items()
            },
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request with a request_id was answered. `fingerprint` tells whether a second one asks for the same."""

    fingerprint: str
    version: int
    changed: bool
    time: datetime

    def encode(self) -> bytes:
        """Return the record that the store keeps."""
        return canonical(
            {
                "fingerprint": self.fingerprint,
                "version": self.version,
                "changed": self.changed,
                "time": self.time.isoformat(),
            }
        )

    @classmethod
    def decode(cls, record: bytes) -> Answered:
        """Return the answer that `encode` wrote."""
        fields = json.loads(record)
        return cls(fields["fingerprint"], fields["version"], fields["changed"], datetime.fromisoformat(fields["time"]))


def head_key(kind: str, name: str) -> str:
    """Return the key of a document's head."""
    return f"{HEADS}{kind}/{name}"


def version_key(kind: str, name: str, number: int) -> str:
    """Return the key of one version."""
    return f"version/{kind}/{name}/{number:012d}"


def schema_key(kind: str, name: str, schema_checksum: str) -> str:
    """Return the key of a schema."""
    return f"schema/{kind}/{name}/{schema_checksum}"


def request_key(request_id: str) -> str:
    """Return the key of an answered request. The id is hashed, since it is the caller's and may hold anything."""
    return f"{REQUESTS}{checksum(request_id.encode())}"
