"""References to secrets in configuration: `{"$secret": "namespaces/billing/secrets/db-password"}` in the place of a value.

What is stored, folded, compared and watched is the reference. The secret's value takes its place only in an answer to a
caller who may access that secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vestryd.domain.errors import InvalidField, SourceInvalid, Violation
from vestryd.domain.jsonvalue import Json
from vestryd.domain.names import check_namespace, check_secret
from vestryd.domain.pointer import join

KEY = "$secret"
WITHHELD = "$withheld"  # beside KEY in an answer: why the value is not there

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference: the namespace and the name of a secret."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: object) -> Reference:
        """Return what `namespaces/<namespace>/secrets/<name>` refers to. Raises InvalidField."""
        match text.split("/") if isinstance(text, str) else []:
            case ["namespaces", namespace, "secrets", name] if namespace:
                return cls(check_namespace(namespace), check_secret(name))
        raise InvalidField(KEY, 'must be "namespaces/<namespace>/secrets/<name>"')


def is_reference(value: Json) -> bool:
    """Tell whether a value is meant to be a reference."""
    return isinstance(value, dict) and KEY in value


def check_references(document: Json) -> None:
    """Raise SourceInvalid when something that is meant to be a reference is none."""
    violations = tuple(_violations(document))
    if violations:
        raise SourceInvalid(violations)


def excuse(violations: Sequence[Violation], document: Json) -> tuple[Violation, ...]:
    """Return the violations that are not of references: a schema speaks of the value that will take a reference's place."""
    if not violations:
        return ()
    places = [join(path) for path, _ in find(document)]
    return tuple(
        one
        for one in violations
        if not any(one.pointer == place or one.pointer.startswith(f"{place}/") for place in places)
    )


def find(value: Json, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Json]]]:
    """Yield (where it is, what stands there) for everything that is meant to be a reference."""
    if is_reference(value):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from find(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find(inner, (*path, str(index)))


def replace(value: Json, resolve: Callable[[Mapping[str, Json]], Json]) -> Json:
    """Return a copy of `value` in which `resolve` has told what takes the place of each reference."""
    if is_reference(value):
        return resolve(value)
    if isinstance(value, dict):
        return {key: replace(inner, resolve) for key, inner in value.items()}
    if isinstance(value, list):
        return [replace(inner, resolve) for inner in value]
    return value


def _violations(document: Json) -> Iterator[Violation]:
    for path, found in find(document):
        try:
            Reference.parse(found[KEY])
        except InvalidField as error:
            yield Violation(join((*path, KEY)), "secret", f"{error.field_name} {error.problem}")
        if len(found) > 1:
            others = ", ".join(repr(key) for key in found if key != KEY)
            yield Violation(
                join(path), "secret", f"a reference to a secret has no other member than {KEY!r}, not {others}"
            )
