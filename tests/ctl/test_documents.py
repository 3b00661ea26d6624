from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryctl.documents import MAX_SOURCE_BYTES, canonical, parse_document, read_document
from vestryctl.failures import Failure, SourceInvalid
from vestryctl.yaml_documents import dump_yaml

# Text that UTF-8 can hold: no half characters.
texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_yaml_output_reads_as_the_same_json(value: object) -> None:
    """What -o yaml prints is read back as the very same document, types included."""
    assert canonical(parse_document(dump_yaml(value), "output", suffix=".yaml")) == canonical(value)


@given(values)
def test_json_reads_as_itself(value: object) -> None:
    """A document survives JSON."""
    assert canonical(parse_document(json.dumps(value), "output", suffix=".json")) == canonical(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NO", "NO"),
        ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"),
        ("010", 10),
        ("0o10", 8),
        ("1e3", 1000.0),
        ("True", True),
        ("~", None),
        ("yes", "yes"),
    ],
)
def test_yaml_is_of_the_core_schema(text: str, expected: object) -> None:
    """YAML 1.1's surprises are not taken."""
    value = parse_document(text, "input", suffix=".yaml")
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("suffix", "text", "problem"),
    [
        (".json", '{"a": 1,}', "input:1:"),
        (".json", '{"a": 1, "a": 2}', "'a' stands twice"),
        (".json", "NaN", "NaN is not JSON"),
        (".json", "1e999", "infinite"),
        (".json", "9" * 5000, "digits"),
        (".json", "[" * 150 + "]" * 150, "levels deep"),
        (".json", "[" * 100_000, "levels deep"),
        (".json", '"\\ud800"', "half a character"),
        (".json", "  \n", "empty"),
        (".yaml", "a: 1\nb: [", "input:3:1"),
        (".yaml", "a: 1\na: 2\n", "input:2:1"),
        (".yaml", "1: a", "quote it"),
        (".yaml", "<<: {a: 1}", "merge keys"),
        (".yaml", "- " * 100_000, "levels deep"),
        (".yaml", "a: .inf", "infinite"),
        (".yaml", "a: !!binary aGk=", "bytes"),
        (".yaml", "a: !!python/object:os.system {}", "input:1:4"),
        (".yaml", "a: &a [*a]", "levels deep"),
        (".yaml", "a: 1\n---\nb: 2", "single document"),
        (".yaml", "a: \x00", "not YAML"),
        (".toml", "a = ", "Invalid value"),
        (".toml", "a = 2024-01-02", "JSON has no date"),
        ("", '{"a": tru}', "input:1:7"),
    ],
)
def test_what_is_no_document_is_refused(suffix: str, text: str, problem: str) -> None:
    """Every kind of bad source gets one sentence that says where and why."""
    with pytest.raises(SourceInvalid) as caught:
        parse_document(text, "input", suffix=suffix)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused() -> None:
    """Aliases that multiply are counted as what they stand for."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(SourceInvalid, match="more than 1000000 values"):
        parse_document(bomb, "bomb", suffix=".yaml")


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    """Encoding errors name the line."""
    file = tmp_path / "latin.json"
    file.write_bytes(b'{"a":\n"\xe9"}')
    with pytest.raises(SourceInvalid, match=r"latin\.json:2 is not a document: it is not UTF-8"):
        read_document(str(file))


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Windows editors may write one."""
    file = tmp_path / "bom.json"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert read_document(str(file)) == {}


@pytest.mark.parametrize("name", ["missing.json", ".", "loop.json"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    """What the system says is passed on in a sentence."""
    (tmp_path / "loop.json").symlink_to("loop.json")
    with pytest.raises(Failure, match="can't read"):
        read_document(str(tmp_path / name))


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    """A sparse file of a terabyte costs no memory."""
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(Failure, match=f"larger than {MAX_SOURCE_BYTES // 2**20} MiB"):
        read_document(str(file))


def test_the_recursion_limit_is_left_alone() -> None:
    """Deep nesting is found without changing the interpreter."""
    limit = sys.getrecursionlimit()
    with pytest.raises(SourceInvalid):
        parse_document("[" * 100_000, "deep", suffix=".json")
    assert sys.getrecursionlimit() == limit
