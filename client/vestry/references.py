"""References from configuration to secrets, as a daemon leaves them that could not resolve them (config.proto)."""

from __future__ import annotations

from typing import Any, Final

from vestry.paths import to_pointer

REFERENCE: Final = "$secret"
WITHHELD: Final = "$withheld"


def withheld(value: Any, pointer: str = "") -> dict[str, str]:
    """Return the JSON Pointers in `value`, which itself stands at `pointer` -> why the secret there is withheld."""
    if isinstance(value, list):
        members: list[tuple[Any, Any]] = list(enumerate(value))
    elif isinstance(value, dict):
        if REFERENCE in value and WITHHELD in value:
            return {pointer: str(value[WITHHELD])}
        members = list(value.items())
    else:
        return {}
    found: dict[str, str] = {}
    for key, member in members:
        found |= withheld(member, pointer + to_pointer((str(key),)))
    return found
