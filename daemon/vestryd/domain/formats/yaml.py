"""YAML 1.2 with the core schema, built from libyaml's events.

PyYAML's own loaders keep the last of two equal keys, read YAML 1.1 (NO is false, 12:30:45 a number, 010 is 8), build what
tags ask for, expand alias bombs, and overflow the C stack on deep nesting. So only its parser is used: events need no stack.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import yaml

from vestryd.domain.errors import SourceInvalid
from vestryd.domain.faults import UNKNOWN, Place, duplicate, fault, located, place, too_deep, too_large
from vestryd.domain.jsonvalue import MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_INTEGER_BITS, Json

# A plain scalar's text -> what it means (YAML 1.2.2, section 10.3.2); numbers beside.
_CONSTANTS: dict[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
# What looks like an alias or a tag may be a password, so it is not shown.
_QUOTE = "put the value in quotes if it is text that begins with * or !"


def parse_yaml(text: str) -> Json:
    """Return the document in `text`, or raise SourceInvalid.

    Dates stay strings. Of tags only !!str, !!map and !!seq are taken, and no merge keys (<<): YAML 1.2 has none. Aliases are
    fine as long as the document with all of them written out has no more than MAX_DOCUMENT_BYTES characters.
    """
    builder = _Builder()
    event: yaml.Event | None = None
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except SourceInvalid as error:
        raise located(error, _place(event.start_mark if event else None)) from None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position].decode()
        raise fault("syntax", f"this is not YAML: {error.reason}", place(before, len(before))) from None
    except yaml.MarkedYAMLError as error:
        raise fault("syntax", f"this is not YAML: {error.problem}", _place(error.problem_mark)) from None
    if not builder.has_document:
        raise fault("syntax", "the file has nothing but comments; write {} for an empty layer")
    return builder.document


def _place(mark: yaml.Mark | yaml._yaml.Mark | None) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else UNKNOWN


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for: a value, its size with all aliases written out, and how deep it nests."""

    value: Json
    size: int
    depth: int


@dataclass(slots=True)
class _Open:
    """An object or array whose end has not come. `key` is the one that waits for its value."""

    value: dict[str, Json] | list[Json]
    anchor: str | None
    size_before: int
    depth: int = 1
    key: str | None = None

    @property
    def wants_key(self) -> bool:
        """Tell whether what comes next is a key."""
        return isinstance(self.value, dict) and self.key is None


@dataclass(slots=True)
class _Builder:
    """Builds one document, event by event, and raises SourceInvalid, without a place, at the first that it refuses."""

    document: Json = None
    has_document: bool = False
    size: int = 0
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, _Anchored] = field(default_factory=dict)  # anchor -> what it names; the latest wins

    def take(self, event: yaml.Event) -> None:
        """Take the next event in."""
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._start({}, event)
            case yaml.SequenceStartEvent():
                self._start([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent() if self.has_document:
                raise fault("syntax", "a second document starts here; a file holds one")
            case _:
                pass

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in {None, "!", f"{_TAG}str"}:
            raise _tag_fault()
        is_plain = event.tag is None and event.implicit[0]
        if is_plain and event.value == "<<" and self.open and self.open[-1].wants_key:
            raise fault("syntax", "merge keys (<<) are not part of YAML 1.2: write the members out")
        value = _resolve(event.value) if is_plain else event.value
        size = len(event.value) + 1
        self.size += size
        if event.anchor:
            self.anchors[event.anchor] = _Anchored(value, size, 0)
        self._add(value, 0)

    def _start(self, value: dict[str, Json] | list[Json], event: yaml.CollectionStartEvent) -> None:
        if event.tag not in {None, "!", f"{_TAG}map" if isinstance(value, dict) else f"{_TAG}seq"}:
            raise _tag_fault()
        if self.open and self.open[-1].wants_key:
            raise fault("syntax", "a key must be a string")
        if len(self.open) == MAX_DEPTH:
            raise too_deep()
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        self.open.append(_Open(value, event.anchor, self.size))
        self.size += 1

    def _end(self) -> None:
        ended = self.open.pop()
        if ended.anchor:
            self.anchors[ended.anchor] = _Anchored(ended.value, self.size - ended.size_before, ended.depth)
        self._add(ended.value, ended.depth)

    def _alias(self, event: yaml.AliasEvent) -> None:
        anchored = self.anchors.get(event.anchor or "")
        if anchored is None:
            raise fault("syntax", f"this alias stands for nothing that has ended before it; {_QUOTE}")
        self.size += anchored.size
        if self.size > MAX_DOCUMENT_BYTES:
            raise fault("size", f"with its aliases written out the document is larger than {MAX_DOCUMENT_BYTES} bytes")
        if len(self.open) + anchored.depth > MAX_DEPTH:
            raise too_deep()
        self._add(anchored.value, anchored.depth)

    def _add(self, value: Json, depth: int) -> None:
        if not self.open:
            self.document, self.has_document = value, True
            return
        parent = self.open[-1]
        parent.depth = max(parent.depth, depth + 1)
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            parent.key = _check_key(value, parent.value)
        else:
            parent.value[parent.key], parent.key = value, None


def _check_key(key: Json, members: dict[str, Json]) -> str:
    if not isinstance(key, str):
        raise fault("syntax", "a key must be a string: put it in quotes")
    if key in members:
        raise duplicate(key)
    return key


def _tag_fault() -> SourceInvalid:
    return fault("syntax", f"tags other than !!str, !!map and !!seq are not allowed; {_QUOTE}")


def _resolve(text: str) -> Json:
    """Return what a plain scalar means in the core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text[2:], 16)
    if _NOT_FINITE.fullmatch(text):
        raise fault("syntax", f"{text} is not allowed: JSON has no such number")
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(digits: str, base: int) -> int:
    try:
        value = int(digits, base)
    except ValueError:  # Python's limit for decimal digits
        raise too_large() from None
    if value.bit_length() > MAX_INTEGER_BITS:
        raise too_large()
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise too_large()
    return value
