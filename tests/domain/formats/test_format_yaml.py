from __future__ import annotations

import math
import time

import pytest

from domain.formats.test_formats import refusal
from vestryd.domain.formats.formats import parse
from vestryd.domain.jsonvalue import Json, canonical


def read(text: str) -> Json:
    """Parse `text` as YAML."""
    return parse(text.encode(), format="yaml")


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        *((word, word) for word in ("NO", "no", "yes", "Yes", "on", "off", "y", "n", "nULL", "tRUE")),
        *(
            (word, word)
            for word in ("12:30:45", "2024-01-02", "2024-01-02T03:04:05Z", "1_000", "0b1", ".", "0x", "1e", "-x")
        ),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(("010", 10), ("0o10", 8), ("0x1F", 31), ("+1", 1), ("-0", 0), ("9007199254740993", 2**53 + 1)),
        *(("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-1.5E-3", -0.0015)),
        *(("'true'", "true"), ('"1"', "1"), ("!!str 1", "1"), ("! 1", "1"), ("|\n  1", "1")),
    ],
)
def test_a_scalar_means_what_the_core_schema_says(scalar: str, expected: Json) -> None:
    """YAML 1.2's core schema decides (section 10.3); dates, and YAML 1.1's other words and numbers, stay strings."""
    assert canonical(read(f"a: {scalar}")) == canonical({"a": expected})


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: [\nb: }", 2, 4, "expected node content"),
        ("a: é b: c", 1, 7, "mapping values"),
        ("é: 1\nü: \x01", 2, 4, "control characters"),
        ("a: 1\nb:\n  c: 2\n  c: 3", 4, 3, "'c' is given twice"),
        ("{a: 1, 'a': 2}", 1, 8, "'a' is given twice"),
        ("a: 1\n8080: 2", 2, 1, "must be a string: put it in quotes"),
        ("true: 1", 1, 1, "must be a string"),
        ("? [a]\n: 1", 1, 3, "must be a string"),
        ("a:\n  <<: {b: 1}", 2, 3, "merge keys"),
        ("a: .nan", 1, 4, "JSON has no such number"),
        ("a: -.INF", 1, 4, "JSON has no such number"),
        ("a: 1e999", 1, 4, "too large"),
        ("a: " + "1" * 5000, 1, 4, "too large"),
        ("a: 0x" + "f" * 5000, 1, 4, "too large"),
        ("a: 1\n---\nb: 2", 2, 1, "a second document"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tags other than"),
        ("a: !!binary aGk=", 1, 4, "tags other than"),
        ("a: !mine {}", 1, 4, "tags other than"),
        ("a: *b", 1, 4, "this alias stands for nothing"),
        ("a: &b [*b]", 1, 8, "this alias stands for nothing"),
        ("# nothing", 0, 0, "nothing but comments; write {} for an empty layer"),
    ],
)
def test_a_fault_in_yaml_is_named_with_its_place(text: str, line: int, column: int, message: str) -> None:
    """The line and column, from 1 and in characters, lead to what is wrong."""
    found = refusal(text, "yaml")
    assert (found.rule, found.line, found.column) == ("syntax", line, column)
    assert message in found.message


@pytest.mark.parametrize(
    "text", ["key: !hunter2", "key: !!hunter2", "key: *hunter2", "key: &hunter2 &x", "key: %hunter2"]
)
def test_a_password_that_needs_quotes_is_not_shown(text: str) -> None:
    """A text that begins with a sign of YAML's own may be a secret without its quotes."""
    assert "hunter2" not in str(refusal(text, "yaml"))


def test_aliases_repeat_what_their_anchors_name() -> None:
    """Small anchors work, for scalars, keys and containers, and a name can be used anew."""
    text = "a: &x [1, 2]\nb: *x\nc: &x y\n*x : *x"
    assert read(text) == {"a": [1, 2], "b": [1, 2], "c": "y", "y": "y"}


@pytest.mark.parametrize("leaf", ["[x, x, x, x, x, x, x, x, x]", "xxxxxxxxxxxxxxxxxx"])
def test_an_alias_bomb_is_refused_before_it_explodes(leaf: str) -> None:
    """The size with all aliases written out is counted while building (a billion laughs is 9 to the 20th here)."""
    levels = [
        f"l0: &l0 {leaf}",
        *(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 20)),
    ]
    started = time.perf_counter()
    found = refusal("\n".join(levels), "yaml")
    assert found.rule == "size"
    assert time.perf_counter() - started < 1


def test_aliases_do_not_hide_depth() -> None:
    """What an alias stands for counts with its own depth."""
    text = f"- &a {'[' * 40}{']' * 40}\n- {'[' * 30}*a{']' * 30}"
    found = refusal(text, "yaml")
    assert (found.rule, found.line) == ("depth", 2)


def test_a_key_that_looks_like_a_merge_may_be_quoted() -> None:
    """Only the plain `<<` is refused."""
    assert read("'<<': 1") == {"<<": 1}


def test_a_version_1_1_directive_changes_nothing() -> None:
    """There is one YAML here."""
    assert read("%YAML 1.1\n---\na: yes\n...\n") == {"a": "yes"}


def test_no_float_is_infinite() -> None:
    """The largest float is read, and is finite."""
    assert math.isfinite(read("a: 1.7976931348623157e308")["a"])
