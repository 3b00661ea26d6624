"""Variables of the daemon's environment that become secrets when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vestryd.domain.errors import InvalidField
from vestryd.domain.names import DEFAULT_NAMESPACE, check_namespace, check_secret
from vestryd.domain.secrets.changes import check_value
from vestryd.domain.secrets.transfer import MAX_ITEMS, ImportItem


@dataclass(frozen=True, slots=True)
class Environment:
    """What is to be taken in: (namespace, secrets), each of which one import takes; and a sentence for what can't be."""

    batches: tuple[tuple[str, tuple[ImportItem, ...]], ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A variable, and the secret that it becomes."""

    variable: str
    namespace: str
    name: str


def secrets_from(wanted: Sequence[str], environ: Mapping[str, str]) -> Environment:
    """Return the secrets that the environment has.

    `wanted` are `NAME`, the secret NAME of the namespace `default`, `name=NAME`, and `namespace/name=NAME`. What can't be
    taken in doesn't keep the others out.
    """
    found: dict[str, dict[str, ImportItem]] = {}  # namespace -> name -> what to take in
    problems = []
    for entry in wanted:
        try:
            _take(entry, environ, found)
        except InvalidField as error:
            problems.append(f"{entry[:80]!r} of secrets.from_environment can't be taken in: {error}")
    return Environment(
        tuple((namespace, batch) for namespace, items in found.items() for batch in _batches(list(items.values()))),
        tuple(problems),
    )


def _take(entry: str, environ: Mapping[str, str], found: dict[str, dict[str, ImportItem]]) -> None:
    one = _parse(entry)
    value = _value(one.variable, environ)
    items = found.setdefault(one.namespace, {})
    if one.name in items:
        raise InvalidField("name", f"another entry makes the secret {one.name!r} of the namespace {one.namespace!r}")
    items[one.name] = ImportItem(one.name, value=value)


def _parse(entry: str) -> Wanted:
    secret, is_named, variable = entry.rpartition("=")
    place, _, name = secret.rpartition("/") if is_named else ("", "", variable)
    if not variable:
        raise InvalidField("variable", "it names none")
    return Wanted(variable, check_namespace(place) if place else DEFAULT_NAMESPACE, check_secret(name))


def _value(variable: str, environ: Mapping[str, str]) -> bytes:
    if variable not in environ:
        raise InvalidField(variable, "the environment has no such variable")
    value = os.fsencode(environ[variable])
    check_value(value, variable)
    return value


def _batches(items: Sequence[ImportItem]) -> list[tuple[ImportItem, ...]]:
    return [tuple(items[start : start + MAX_ITEMS]) for start in range(0, len(items), MAX_ITEMS)]
