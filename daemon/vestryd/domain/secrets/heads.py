"""The head of a secret: everything that is known of it but its values.

    secret/<namespace>/<name>                          the head: canonical JSON, and 32 bytes that authenticate it
    secret-version/<namespace>/<name>/<000000000042>   the envelope of one version's value

Names are visible in the store by design. A head is authentic at its own key only, and the index tells
whether it is the newest one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.sealing.keyring import authenticate, is_authentic
from vestryd.domain.secrets.rotation import RotationState, overdue_time
from vestryd.domain.secrets.settings import Settings, decode_settings, encode_settings

HEADS = "secret/"
VERSIONS = "secret-version/"
MAC_BYTES = 32

_PURPOSE = "secret"


class Label(StrEnum):
    """Which of a secret's versions is meant."""

    CURRENT = "current"
    PREVIOUS = "previous"
    PENDING = "pending"


class VersionState(StrEnum):
    """How a version can be had."""

    CURRENT = "current"
    PREVIOUS = "previous"
    PENDING = "pending"
    OLD = "old"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of one version. `term` of the keyring wraps its key: 0 once it is destroyed."""

    number: int
    create_time: datetime
    author: str
    size: int
    term: int
    public_key: str = ""
    destroy_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a secret. Replaced, never changed.

    `current`, `previous` and `pending` are numbers of versions, 0 for none; `newest` is the highest number that was ever
    given, and no number is given twice. `versions` maps number -> version, in ascending order. `previous_until` is the end
    of the previous version's grace period, None when it has none. `current_time` is when the current version became so.
    """

    namespace: str
    name: str
    create_time: datetime
    update_time: datetime
    author: str
    settings: Settings = field(default_factory=Settings)
    current: int = 0
    previous: int = 0
    pending: int = 0
    newest: int = 0
    current_time: datetime | None = None
    previous_until: datetime | None = None
    delete_time: datetime | None = None
    versions: Mapping[int, Version] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """What policies and audit records call the secret."""
        return secret_path(self.namespace, self.name)

    @property
    def is_deleted(self) -> bool:
        """Whether it can't be had until it is undeleted."""
        return self.delete_time is not None

    @property
    def next_rotation_time(self) -> datetime | None:
        """When its rotation falls due; None without a period, and while it is deleted."""
        rotation = self.settings.rotation
        if rotation is None or rotation.period is None or self.is_deleted:
            return None
        return (self.current_time or self.create_time) + rotation.period

    @property
    def overdue_time(self) -> datetime | None:
        """When its rotation is overdue; None like `next_rotation_time`."""
        due, rotation = self.next_rotation_time, self.settings.rotation
        return overdue_time(due, rotation.period) if due and rotation and rotation.period else None

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its value is no longer given."""
        return self.settings.expire_time is not None and self.settings.expire_time <= now

    def rotation_state(self, now: datetime) -> RotationState:
        """Tell how it stands to its rotation."""
        due, overdue = self.next_rotation_time, self.overdue_time
        if due is None or overdue is None:
            return RotationState.NONE
        if now < due:
            return RotationState.SCHEDULED
        return RotationState.DUE if now <= overdue else RotationState.OVERDUE

    def version_state(self, number: int) -> VersionState:
        """Tell how one of its versions can be had."""
        if self.versions[number].destroy_time:
            return VersionState.DESTROYED
        labels = {
            self.pending: VersionState.PENDING,
            self.previous: VersionState.PREVIOUS,
            self.current: VersionState.CURRENT,
        }
        return labels.get(number, VersionState.OLD)


def secret_path(namespace: str, name: str) -> str:
    """Return what policies, references and audit records call a secret."""
    return f"namespaces/{namespace}/secrets/{name}"


def namespace_path(namespace: str) -> str:
    """Return what policies and audit records call the secrets of a namespace."""
    return f"namespaces/{namespace}/secrets"


def head_key(namespace: str, name: str) -> str:
    """Return the key of a secret's head."""
    return f"{HEADS}{namespace}/{name}"


def version_key(namespace: str, name: str, number: int) -> str:
    """Return the key of one version's record."""
    return f"{VERSIONS}{namespace}/{name}/{number:012d}"


def encode_head(head: Head, mac_key: bytes) -> bytes:
    """Return the record that the store keeps; its last 32 bytes are the MAC of the others and of its key."""
    body = canonical(_to_json(head))
    return body + authenticate(mac_key, _PURPOSE, head_key(head.namespace, head.name), body)


def decode_head(key: str, record: bytes, mac_key: bytes) -> Head:
    """Return the head that `encode_head` wrote for this key. Raises ValueError for anything else."""
    body, mac = record[:-MAC_BYTES], record[-MAC_BYTES:]
    if not is_authentic(mac_key, _PURPOSE, key, body, mac):
        raise ValueError("the head of a secret is not authentic")
    _, namespace, name = key.split("/")
    try:
        return _from_json(namespace, name, json.loads(body))
    except (KeyError, TypeError):
        raise ValueError("the head of a secret is from another release, and can't be read") from None


def _to_json(head: Head) -> Json:
    return {
        "author": head.author,
        "create_time": head.create_time.isoformat(),
        "current": head.current,
        "current_time": _text(head.current_time),
        "delete_time": _text(head.delete_time),
        "newest": head.newest,
        "pending": head.pending,
        "previous": head.previous,
        "previous_until": _text(head.previous_until),
        "settings": encode_settings(head.settings),
        "update_time": head.update_time.isoformat(),
        "versions": [
            {
                "author": version.author,
                "create_time": version.create_time.isoformat(),
                "destroy_time": _text(version.destroy_time),
                "number": version.number,
                "public_key": version.public_key,
                "size": version.size,
                "term": version.term,
            }
            for version in head.versions.values()
        ],
    }


def _from_json(namespace: str, name: str, encoded: Json) -> Head:
    return Head(
        namespace=namespace,
        name=name,
        create_time=datetime.fromisoformat(encoded["create_time"]),
        update_time=datetime.fromisoformat(encoded["update_time"]),
        author=encoded["author"],
        settings=decode_settings(encoded["settings"]),
        current=encoded["current"],
        previous=encoded["previous"],
        pending=encoded["pending"],
        newest=encoded["newest"],
        current_time=_time(encoded["current_time"]),
        previous_until=_time(encoded["previous_until"]),
        delete_time=_time(encoded["delete_time"]),
        versions={
            one["number"]: Version(
                number=one["number"],
                create_time=datetime.fromisoformat(one["create_time"]),
                author=one["author"],
                size=one["size"],
                term=one["term"],
                public_key=one["public_key"],
                destroy_time=_time(one["destroy_time"]),
            )
            for one in encoded["versions"]
        },
    )


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
