"""What people set of a secret beside its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import Json
from vestryd.domain.secrets.rotation import RotationPolicy, check_policy, decode_policy, encode_policy

MAX_DESCRIPTION_CHARACTERS = 1024
MAX_TAGS = 32
MAX_TAG_NAME_CHARACTERS = 64
MAX_TAG_TEXT_CHARACTERS = 256

FIELDS = frozenset({"description", "tags", "rotation", "expire_time"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What is known of a secret because somebody said so. After `expire_time` its value is no longer given."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    rotation: RotationPolicy | None = None
    expire_time: datetime | None = None


def check_settings(settings: Settings, where: str = "settings") -> None:
    """Raise InvalidField, naming a field below `where`, when something is over its limit."""
    if len(settings.description) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidField(f"{where}.description", f"it is longer than {MAX_DESCRIPTION_CHARACTERS} characters")
    if len(settings.tags) > MAX_TAGS:
        raise InvalidField(f"{where}.tags", f"at most {MAX_TAGS} are allowed")
    for name, text in settings.tags.items():
        if not 1 <= len(name) <= MAX_TAG_NAME_CHARACTERS or len(text) > MAX_TAG_TEXT_CHARACTERS:
            raise InvalidField(
                f"{where}.tags",
                f"a name has 1 to {MAX_TAG_NAME_CHARACTERS} characters, its text at most {MAX_TAG_TEXT_CHARACTERS}",
            )
    if settings.rotation is not None:
        check_policy(settings.rotation, f"{where}.rotation")


def encode_settings(settings: Settings) -> Json:
    """Return the settings as JSON."""
    return {
        "description": settings.description,
        "expire_time": settings.expire_time and settings.expire_time.isoformat(),
        "rotation": encode_policy(settings.rotation),
        "tags": dict(settings.tags),
    }


def decode_settings(encoded: Json) -> Settings:
    """Return the settings that `encode_settings` wrote."""
    expires = encoded["expire_time"]
    return Settings(
        description=encoded["description"],
        tags=encoded["tags"],
        rotation=decode_policy(encoded["rotation"]),
        expire_time=expires and datetime.fromisoformat(expires),
    )
