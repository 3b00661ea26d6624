"""JSON Schema (draft 2020-12): what a document must be, and which of its values nobody may be shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import islice
from operator import getitem
from typing import NoReturn

import jsonschema_rs
from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.jsonvalue import Json, canonical, checksum, measure
from vestryd.domain.pointer import join, split
from vestryd.domain.schema.graph import META_SCHEMA, Graph, Sight
from vestryd.domain.schema.messages import describe, excerpt, rule_of
from vestryd.domain.schema.patterns import LINEAR_TIME, pattern_problem

MAX_VIOLATIONS = 100
_MAX_FORMS = 5  # of anyOf and oneOf in one message
# The library copies the value of each error that it finds, and it finds all before it gives the first: for a megabyte that
# lacks 200 members that takes ten seconds and two gigabytes. A document with more values than this gets one violation.
_MAX_VALUES_FOR_ALL = 10_000


class Schema:
    """A compiled schema: immutable, and made to be used for many documents.

    `document` is the schema as JSON; `checksum` that of its canonical form. References stay inside the schema or lead to the
    standard meta-schemas: nothing is fetched or opened. Patterns run in time linear in the text. `format` is checked where
    the library knows the format, and unknown formats and keywords are let be.
    """

    def __init__(self, document: Json, *, file: str = "") -> None:
        """Compile `document`. Raises SourceInvalid with the rule `schema`; `file` is a name for its violations."""
        form = canonical(document)
        self.document: Json = json.loads(form)
        self.checksum = checksum(form)
        _check_against_meta_schema(self.document, file)
        self._graph = Graph(self.document)
        if self._graph.violations:
            raise _invalid(self._graph.violations, file)
        try:
            self._validator = _compile(self.document)
        except (ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            problem = str(error).partition("\n")[0]
            raise _invalid([Violation("", "schema", f"this schema can't be used: {problem}")], file) from None

    def violations(self, value: Json) -> tuple[Violation, ...]:
        """Return how `value` breaks the schema, sorted by pointer: none when it is valid, MAX_VIOLATIONS at most.

        None of them shows anything of a secret: the pointer to a place inside one ends at the secret, `value` is empty for
        every place that a secret may be above, at or below, and messages hold no values. A very large document gets only one
        violation.
        """
        if self._validator.is_valid(value):
            return ()
        return _sorted(_violation(error, value, self._graph) for error in islice(self._errors(value), MAX_VIOLATIONS))

    def is_secret(self, pointer: str) -> bool:
        """Tell whether what is at `pointer` is a secret, or inside one. Raises InvalidField for a malformed pointer."""
        return self._graph.look(split(pointer)).secret_depth is not None

    def holds_secret(self, pointer: str) -> bool:
        """Tell whether what is at `pointer` is a secret, inside one, or may have one inside."""
        return self._graph.look(split(pointer)).holds_secret

    def _errors(self, value: Json) -> Iterable[ValidationError]:
        _, size = measure(value)
        if size <= _MAX_VALUES_FOR_ALL:
            return self._validator.iter_errors(value)
        try:
            self._validator.validate(value)
        except ValidationError as error:
            return [error]
        return []


def _violation(error: ValidationError, value: Json, graph: Graph) -> Violation:
    path = error.instance_path
    sight = graph.look(path)
    return Violation(
        pointer=_visible(path, sight),
        rule=rule_of(error),
        message=_message(error, graph, sight),
        value="" if sight.holds_secret else excerpt(reduce(getitem, path, value)),
    )


def _message(error: ValidationError, graph: Graph, sight: Sight) -> str:
    message = describe(error, known=sight.names, in_secret=sight.is_in_secret)
    match error.kind:
        case Kind.AnyOf(context=forms) | Kind.OneOfNotValid(context=forms):
            problems = [_form_problem(form[0], error, graph) for form in forms[:_MAX_FORMS] if form]
            return f"{message}: {'; '.join(problems)}"
        case _:
            return message


def _form_problem(error: ValidationError, above: ValidationError, graph: Graph) -> str:
    """Return the first problem of one form of anyOf or oneOf, which may lie deeper than the error `above`."""
    sight = graph.look(error.instance_path)
    message = describe(error, known=sight.names, in_secret=sight.is_in_secret)
    is_deeper = len(error.instance_path) > len(above.instance_path)
    return f"{_visible(error.instance_path, sight)} {message}" if is_deeper else message


def _visible(path: list[str | int], sight: Sight) -> str:
    """Return the pointer to a place, or to the secret that it is in: what is inside one has names, and is secret too."""
    return join(path[: sight.secret_depth])


def _refuse_reference(uri: str) -> NoReturn:
    raise ValueError(f"{uri!r} is outside of this schema, and nothing is fetched")


def _compile(document: Json) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        document,
        validate_formats=True,
        retriever=_refuse_reference,
        pattern_options=LINEAR_TIME,
    )


_NO_GRAPH = Graph({})  # a schema has no secrets
_META_VALIDATOR = _compile({"$ref": META_SCHEMA})


def _check_against_meta_schema(document: Json, file: str) -> None:
    errors = list(islice(_META_VALIDATOR.iter_errors(document), MAX_VIOLATIONS))
    if errors:
        raise _invalid([_schema_violation(error, document) for error in errors], file)


def _schema_violation(error: ValidationError, document: Json) -> Violation:
    violation = _violation(error, document, _NO_GRAPH)
    if isinstance(error.kind, Kind.Format) and error.kind.format == "regex":
        return replace(violation, message=pattern_problem(str(error.instance)))
    return violation


def _invalid(violations: Sequence[Violation], file: str) -> SourceInvalid:
    return SourceInvalid(_sorted(replace(one, rule="schema", file=file) for one in violations))


def _sorted(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Return each violation once: forms that ask for the same, or that hide the same secret, repeat themselves."""
    return tuple(sorted(set(violations), key=lambda one: (one.pointer, one.rule, one.message)))
