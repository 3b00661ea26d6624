from __future__ import annotations

import time

import pytest

from domain.formats.test_formats import refusal
from vestryd.domain.formats.formats import parse
from vestryd.domain.jsonvalue import Json


def read(text: str) -> Json:
    """Parse `text` as TOML."""
    return parse(text.encode(), format="toml")


def test_dates_and_times_become_iso_strings() -> None:
    """JSON has no dates; a schema can still ask for the format date-time."""
    text = "a = 1979-05-27T07:32:00Z\nb = 1979-05-27T07:32:00.5\nc = 1979-05-27\nd = [07:32:00]"
    assert read(text) == {
        "a": "1979-05-27T07:32:00+00:00",
        "b": "1979-05-27T07:32:00.500000",
        "c": "1979-05-27",
        "d": ["07:32:00"],
    }


def test_a_file_of_comments_is_an_empty_layer() -> None:
    """TOML can't say {} otherwise."""
    assert read("# nothing here") == {}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a = 1\nb = ]", 2, 5, "Invalid value"),
        ("a = 'x", 1, 7, "Expected"),
        ("a = 1\na = 2", 2, 1, "'a' is given twice"),
        ("a.b = 1\nx = 0\na.b = 2 # again", 3, 1, "'a.b' is given twice"),
        ("a = 1\n[a]", 2, 1, "'a' is given twice"),
        ("a = {b = 1, b = 2}", 1, 18, "'b'"),
        ("[a]\n[a]", 2, 3, "'a'"),
        ("[a]\nb = 0x" + "f" * 5000, 0, 0, "too large"),
        ("a = " + "1" * 5000, 0, 0, "too large"),
    ],
)
def test_a_fault_in_toml_is_named_with_its_place(text: str, line: int, column: int, message: str) -> None:
    """The line and column are given as far as the standard library tells; a duplicate key is named."""
    found = refusal(text, "toml")
    assert (found.rule, found.line, found.column) == ("syntax", line, column)
    assert message in found.message


def test_a_duplicate_key_is_named_without_its_value() -> None:
    """The second value may have many lines, which look like TOML, and may be a secret."""
    found = refusal('key = 1\nother = 2\nkey = """\nhunter2 = 1\n"""\nlast = 3', "toml")
    assert (found.message, found.line) == ("the key 'key' is given twice", 3)


@pytest.mark.parametrize(("number", "pointer"), [("inf", "/a/1"), ("-nan", "/a/1"), ("1e999", "/a/1")])
def test_a_number_that_json_lacks_is_refused_with_its_pointer(number: str, pointer: str) -> None:
    """TOML has nan and inf, and reads a large exponent as inf."""
    found = refusal(f"a = [1.0, {number}]", "toml")
    assert (found.rule, found.pointer) == ("syntax", pointer)


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "x." * 200 + "'",
        'a = """\n' + "x." * 200 + '\n"""',
        "a = 1 # " + "x." * 200 + "x",
    ],
)
def test_dots_in_strings_and_comments_are_not_keys(text: str) -> None:
    """Only keys are held against the limit for keys."""
    read(text)


@pytest.mark.parametrize(
    "text",
    [
        '"""' + '\n\\"""' * 150_000,
        'a = "' + '\\"' * 300_000,
        'a = """' + '\\"""' * 200_000,
        "'''" + "'" * 500_000,
        '"' * 1_000_000,
        "a" * 1_000_000,
    ],
    ids=lambda text: text[:8],
)
def test_looking_for_long_keys_takes_linear_time(text: str) -> None:
    """Quotes that never close are looked at once."""
    started = time.perf_counter()
    assert refusal(text, "toml").rule == "syntax"
    assert time.perf_counter() - started < 2
