"""The names that people give: namespaces, environments and secrets."""

from __future__ import annotations

import re

from vestryd.domain.errors import InvalidField

DEFAULT_NAMESPACE = "default"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_ALLOWED = (
    "1 to 63 characters of a-z, 0-9, '-', '_' and '.' are allowed, "
    "with a letter or a digit at both ends and never two dots in a row"
)
_SECRET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_ALLOWED_SECRET = (
    "1 to 128 characters of A-Z, a-z, 0-9, '-', '_' and '.' are allowed, "
    "with a letter or a digit at both ends and never two dots in a row"
)
_MAX_SHOWN = 80  # characters of a refused name in the message
# What else a file beside the environment's may be named after. The policy's files may begin with `access.`, too.
_RESERVED_ENVIRONMENTS = frozenset({"access", "schema", "default", "override", "runtime", "vestryd"})


def check_namespace(name: str) -> str:
    """Return the namespace that `name` means: itself, or `default` when it is empty. Raises InvalidField."""
    return _check("namespace", name) if name else DEFAULT_NAMESPACE


def check_environment(name: str) -> str:
    """Return `name` when it can name an environment, which names a file. Raises InvalidField."""
    if name in _RESERVED_ENVIRONMENTS or name.startswith("access."):
        reserved = ", ".join(sorted(_RESERVED_ENVIRONMENTS))
        raise InvalidField("environment", f"{name!r} is taken: choose a name other than {reserved} and access.…")
    return _check("environment", name)


def check_secret(name: str) -> str:
    """Return `name` when it can name a secret. Raises InvalidField."""
    return _check("name", name, _SECRET, _ALLOWED_SECRET)


def _check(field_name: str, name: str, pattern: re.Pattern[str] = _NAME, allowed: str = _ALLOWED) -> str:
    if not pattern.fullmatch(name) or ".." in name:
        shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…"
        raise InvalidField(field_name, f"{shown!r} can't be used: {allowed}")
    return name
