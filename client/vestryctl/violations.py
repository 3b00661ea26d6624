"""How commands show what is wrong with a document."""

from __future__ import annotations

from collections.abc import Iterable

from vestry.v1 import common_pb2
from vestryctl.failures import place
from vestryctl.output import Output
from vestryctl.text import in_one_line

_MAX_VALUE_CHARACTERS = 40


def print_violations(out: Output, violations: Iterable[common_pb2.Violation]) -> None:
    """Print a table of violations; the column for the place is there when a file is known."""
    violations = list(violations)
    columns = ["POINTER", "RULE", "PROBLEM", "VALUE"]
    rows = [
        [each.pointer or "(document)", each.rule, in_one_line(each.message), _shortened(each.value)]
        for each in violations
    ]
    if any(each.file for each in violations):
        columns.append("PLACE")
        for row, each in zip(rows, violations, strict=True):
            row.append(place(each))
    out.table(columns, rows, fold=("PROBLEM", "PLACE"))


def _shortened(value: str) -> str:
    """Return as much of a value as helps to recognise it; JSON and YAML have more."""
    return value if len(value) <= _MAX_VALUE_CHARACTERS else value[: _MAX_VALUE_CHARACTERS - 1] + "…"
