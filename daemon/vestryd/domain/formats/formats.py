"""From the bytes of a file to a document: JSON, YAML 1.2 (core schema) and TOML 1.0.

All three give the same thing: objects with string keys, each once; finite numbers; text that UTF-8 can hold; at most
MAX_DEPTH levels. Everything else is refused with the line at which it stands, in time and memory bounded by the size of the
file. A byte order mark is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.faults import fault, place
from vestryd.domain.formats.json import parse_json
from vestryd.domain.formats.toml import parse_toml
from vestryd.domain.formats.yaml import parse_yaml
from vestryd.domain.jsonvalue import MAX_DOCUMENT_BYTES, Json, type_name

# a file's ending -> its format
FORMATS: Mapping[str, str] = MappingProxyType({".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"})

_PARSERS: Mapping[str, Callable[[str], Json]] = {"json": parse_json, "yaml": parse_yaml, "toml": parse_toml}
_EMPTY_LAYER = {"json": "{}", "yaml": "{}", "toml": "a comment"}


def parse(content: bytes, *, format: str, file: str = "") -> Json:  # noqa: A002 - what files and people call it
    """Return the document that `content` holds. `format` is a value of FORMATS, `file` a name for violations.

    Raises SourceInvalid. Its violation's rule is `size` (checked first), `encoding`, `syntax` or `depth`. An empty file is a
    `syntax` violation: it is what is left of a save that went wrong, and must not empty a layer.
    """
    parser = _PARSERS[format]
    try:
        text = _decode(content)
        if not text.strip():
            raise fault("syntax", f"the file is empty; write {_EMPTY_LAYER[format]} for an empty layer")
        return parser(text)
    except SourceInvalid as error:
        raise SourceInvalid(tuple(replace(violation, file=file) for violation in error.violations)) from None


def require_object(value: Json, *, file: str = "") -> dict[str, Json]:
    """Return `value`, which must be an object. Raises SourceInvalid with the rule `type`."""
    if not isinstance(value, dict):
        message = f"the top level must be an object, not {type_name(value)}"
        raise SourceInvalid((Violation("", "type", message, file=file),))
    return value


def _decode(content: bytes) -> str:
    if len(content) > MAX_DOCUMENT_BYTES:
        raise fault("size", f"the file has {len(content)} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        message = f"the file is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
        raise fault("encoding", message, place(before, len(before))) from None
