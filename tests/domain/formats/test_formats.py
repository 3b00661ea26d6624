from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.values import JSON
from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.formats.formats import FORMATS, parse, require_object
from vestryd.domain.jsonvalue import MAX_DEPTH, MAX_DOCUMENT_BYTES, Json, canonical

EVERY_FORMAT = sorted(set(FORMATS.values()))


def refusal(content: bytes | str, format_: str = "json") -> Violation:
    """Return the one violation for which `content` is refused."""
    with pytest.raises(SourceInvalid) as caught:
        parse(content.encode() if isinstance(content, str) else content, format=format_, file="f.x")
    (violation,) = caught.value.violations
    assert violation.file == "f.x"
    return violation


@given(JSON)
def test_canonical_json_is_read_back(value: Json) -> None:
    """What we write, we read."""
    assert canonical(parse(canonical(value), format="json")) == canonical(value)


@given(JSON)
def test_json_is_yaml(value: Json) -> None:
    """The YAML parser reads JSON as the JSON parser does (YAML 1.2, section 1.3), so a file may change its ending.

    Except that YAML escapes a character beyond U+FFFF by itself, not as a surrogate pair.
    """
    text = json.dumps(value)
    assume("\\ud" not in text)
    assert canonical(parse(text.encode(), format="yaml")) == canonical(parse(text.encode(), format="json"))


@given(st.binary() | st.text().map(str.encode), st.sampled_from(EVERY_FORMAT))
def test_bytes_are_a_document_or_a_violation(content: bytes, format_: str) -> None:
    """Nothing but SourceInvalid is raised, and what is not refused has a canonical form."""
    with contextlib.suppress(SourceInvalid):
        canonical(parse(content, format=format_))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('{\n  "a": 1,\n}', 3, 1, "double quotes"),
        ('{"a": 1\n "b": 2}', 2, 2, "delimiter"),
        ("[1, 2", 1, 6, "delimiter"),
        ("{} x", 1, 4, "Extra data"),
        ('{"a": 1,\n "é": 2,\n "b": {"a": 3, "a": 4}}', 3, 16, "'a' is given twice"),
        ('{"\\u0061": 1, "a": 2}', 1, 15, "'a' is given twice"),
        ('["NaN", {"a":\n NaN}]', 2, 2, "NaN is not a JSON value"),
        ("[-Infinity]", 1, 2, "-Infinity is not a JSON value"),
        ("[1,\n1e999]", 2, 1, "too large"),
        ("[" + "1" * 5000 + "]", 1, 2, "too large"),
    ],
)
def test_a_fault_in_json_is_named_with_its_place(text: str, line: int, column: int, message: str) -> None:
    """The line and column, from 1, lead to what is wrong."""
    found = refusal(text)
    assert (found.rule, found.line, found.column) == ("syntax", line, column)
    assert message in found.message


@pytest.mark.parametrize("text", ['["hunter2\\ud800"]', '{"a": "hunter2", "b": "hunter2\\ud83d"}'])
def test_half_a_surrogate_pair_is_refused_without_showing_the_string(text: str) -> None:
    """JSON can escape what UTF-8 can't hold; the string around it may be a secret."""
    found = refusal(text)
    assert found.rule == "encoding"
    assert "hunter2" not in str(found)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    """JSON's escapes of characters beyond U+FFFF are read."""
    assert parse(b'["\\ud83d\\ude00"]', format="json") == ["\U0001f600"]


@pytest.mark.parametrize("format_", EVERY_FORMAT)
@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused_and_says_how_to_write_an_empty_layer(content: bytes, format_: str) -> None:
    """A save that went wrong must not empty a layer."""
    assert refusal(content, format_).message.startswith("the file is empty; write ")


@pytest.mark.parametrize(("format_", "text"), [("json", '{"a":1}'), ("yaml", "a: 1"), ("toml", "a = 1")])
def test_a_byte_order_mark_is_skipped(format_: str, text: str) -> None:
    """Editors that write one are forgiven."""
    assert parse(text.encode("utf-8-sig"), format=format_) == {"a": 1}


@pytest.mark.parametrize("format_", EVERY_FORMAT)
def test_what_is_not_utf_8_is_refused_with_the_byte_and_its_place(format_: str) -> None:
    """The offset counts bytes, the column characters."""
    found = refusal(b"# a\n# \xc3\xa9\xff", format_)
    assert (found.rule, found.line, found.column) == ("encoding", 2, 4)
    assert "byte 0xff at offset 8" in found.message


@pytest.mark.parametrize("format_", EVERY_FORMAT)
def test_a_file_that_is_too_large_is_not_even_decoded(format_: str) -> None:
    """Size comes first: ten megabytes of bytes that aren't UTF-8 are a question of size."""
    found = refusal(b"\xff" * (10 * 1024 * 1024), format_)
    assert found.rule == "size"
    assert str(MAX_DOCUMENT_BYTES) in found.message


@pytest.mark.parametrize(
    ("format_", "opening", "closing", "prefix", "levels"),
    [
        ("json", "[", "]", "", MAX_DEPTH),
        ("json", '{"a":', "}", "", MAX_DEPTH),
        ("yaml", "[", "]", "", MAX_DEPTH),
        ("yaml", "{a: ", "}", "", MAX_DEPTH),
        ("toml", "[", "]", "a = ", MAX_DEPTH - 1),
        ("toml", "{a = ", "}", "a = ", MAX_DEPTH - 1),
    ],
)
def test_the_deepest_document_is_read_and_the_next_refused(
    format_: str, opening: str, closing: str, prefix: str, levels: int
) -> None:
    """The limit is the same in each format; a TOML file is an object itself."""

    def nested(depth: int) -> str:
        return f"{prefix}{opening * depth}{'' if opening == '[' else '1'}{closing * depth}"

    parse(nested(levels).encode(), format=format_)
    assert refusal(nested(levels + 1), format_).rule == "depth"


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("json", "[" * 1_000_000),
        ("json", '{"a":' * 200_000),
        ("yaml", "[" * 1_000_000),
        ("yaml", "{a: " * 200_000),
        ("yaml", "- " * 500_000),
        ("toml", "a = " + "[" * 1_000_000),
        ("toml", "a." * 500_000 + "b = 1"),
    ],
    ids=lambda value: value[:5],
)
def test_a_megabyte_of_brackets_costs_neither_the_stack_nor_a_second(format_: str, text: str) -> None:
    """Nesting is refused where it passes the limit."""
    started = time.perf_counter()
    assert refusal(text, format_).rule == "depth"
    assert time.perf_counter() - started < 1


def test_a_megabyte_of_json_takes_a_moment() -> None:
    """Strictness costs no more than the parser itself (measured: 15 to 50 ms)."""
    text = json.dumps({f"service-{index}": {"port": index, "tags": [1.5, "x"]} for index in range(19_000)})
    started = time.perf_counter()
    parse(text.encode(), format="json")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("text", "name"), [("[]", "an array"), ("null", "null"), ("1", "a number"), ("true", "a boolean")]
)
def test_a_top_level_that_is_no_object_is_refused_by_who_needs_one(text: str, name: str) -> None:
    """The parser takes any value; `require_object` doesn't, and names what it found."""
    with pytest.raises(SourceInvalid, match=f"f.x: the top level must be an object, not {name} \\(type\\)"):
        require_object(parse(text.encode(), format="json"), file="f.x")
