r"""Templates of files: text with places for values.

A place is `{{ … }}` with one expression in it:

    {{ config "server.port" }}       a value of configuration: a string as it is, anything else as JSON
    {{ secret "db-password" }}       the current value of a secret, which must be UTF-8 text
    {{ secret "key" "billing" }}     either of them of another namespace
    {{ env "HOME" }}                 an environment variable
    {{ "{{" }}                       the text itself

With `| json` behind it a value becomes a JSON string, quotes included, which YAML takes as well. Strings are written as in
JSON. A template has no conditions, no loops and no code: nothing in it, or in a value, is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, cast

from vestryctl.failures import Failure

Source = Literal["config", "secret", "env", "text"]

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_EXPRESSION = re.compile(
    rf"\s*(?:(?P<source>[A-Za-z_]+)\s+)?(?P<first>{_STRING})(?:\s+(?P<second>{_STRING}))?\s*(?:\|\s*(?P<filter>\w+)\s*)?\}}\}}"
)
_SOURCES: Final = ("config", "secret", "env")
_OPENING: Final = "{{"


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a template. `namespace` is empty when none is given."""

    source: Source
    name: str
    namespace: str
    is_json: bool
    where: str  # file:line:column


class Template:
    """A template that was read without fault."""

    def __init__(self, text: str, file: str) -> None:
        """Raises Failure that names the line and the column."""
        self._parts: list[str | Place] = list(_parse(text, file))

    @property
    def places(self) -> list[Place]:
        """The places for values, in order."""
        return [part for part in self._parts if isinstance(part, Place) and part.source != "text"]

    def render(self, value_of: Callable[[Place], str]) -> str:
        """Return the text with values in their places."""
        return "".join(part if isinstance(part, str) else _written(part, value_of) for part in self._parts)


def _written(place: Place, value_of: Callable[[Place], str]) -> str:
    value = place.name if place.source == "text" else value_of(place)
    return json.dumps(value, ensure_ascii=False) if place.is_json else value


def _parse(text: str, file: str) -> Iterator[str | Place]:
    start = 0
    while (opening := text.find(_OPENING, start)) >= 0:
        yield text[start:opening]
        match = _EXPRESSION.match(text, opening + len(_OPENING))
        where = _where(text, opening, file)
        if match is None:
            _fail(where, 'a place is {{ config "PATH" }}, {{ secret "NAME" }}, {{ env "NAME" }} or {{ "text" }}')
        yield _place(match, where)
        start = match.end()
    yield text[start:]


def _place(match: re.Match[str], where: str) -> Place:
    source = match["source"] or "text"
    if source not in {*_SOURCES, "text"}:
        _fail(where, f"{source!r} is unknown: there are {', '.join(_SOURCES)}")
    if match["second"] is not None and source not in {"config", "secret"}:
        _fail(where, "only config and secret take a namespace")
    if match["filter"] not in {None, "json"}:
        _fail(where, f"the filter {match['filter']!r} is unknown: there is json")
    return Place(
        source=cast("Source", source),
        name=_string(match["first"], where),
        namespace=_string(match["second"], where) if match["second"] is not None else "",
        is_json=match["filter"] == "json",
        where=where,
    )


def _string(literal: str, where: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        _fail(where, f"{literal} has an escape that JSON doesn't know")


def _where(text: str, place: int, file: str) -> str:
    line = text.count("\n", 0, place) + 1
    return f"{file}:{line}:{place - text.rfind(chr(10), 0, place)}"


def _fail(where: str, problem: str) -> NoReturn:
    raise Failure(f"{where}: {problem}")
