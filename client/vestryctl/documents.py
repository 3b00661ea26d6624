"""Documents that people hand in: read from a file, standard input or an argument, and checked to be JSON by nature."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from vestryctl.failures import Failure, SourceInvalid
from vestryctl.sources import read_at_most, source_name
from vestryctl.yaml_documents import MAX_DEPTH, load_yaml

# gRPC's default for the largest message that a peer takes; the daemon's own limit for a document is lower, and it says so.
MAX_SOURCE_BYTES = 4 * 1024 * 1024
MAX_NODES = 1_000_000  # a document of MAX_SOURCE_BYTES can't hold more unless its aliases multiply


def read_document(file: str) -> Any:
    """Return the document in `file`, by the ending of its name: JSON, YAML or TOML; `-` is standard input.

    What comes from standard input, or has no known ending, is JSON or YAML. Raises Failure when it can't be read and
    SourceInvalid when it isn't a document.
    """
    return parse_document(read_text(file), source_name(file), suffix=Path(file).suffix.lower())


def read_merge_patch(file: str) -> dict[str, Any]:
    """Return the merge patch in `file`. Raises Failure and SourceInvalid."""
    document = read_document(file)
    if not isinstance(document, dict):
        raise Failure(f"can't apply {file}: a merge patch is an object")
    return document


def read_text(file: str) -> str:
    """Return the text in `file`, or of standard input. Raises Failure or SourceInvalid."""
    return _decode(_read(file), source_name(file))


def parse_document(text: str, name: str, *, suffix: str) -> Any:
    """Return the document that `text` is; `name` is what errors call it. Raises SourceInvalid."""
    if not text.strip():
        raise SourceInvalid("it is empty", rule="syntax", file=name)
    if suffix == ".json":
        value = load_json(text, name)
    elif suffix == ".toml":
        value = _load_toml(text, name)
    elif suffix in {".yaml", ".yml"}:
        value = load_yaml(text, file=name)
    else:
        value = _load_either(text, name)
    check_json(value, name)
    return value


def load_json(text: str, name: str) -> Any:
    """Return what the JSON `text` says; SourceInvalid on bad syntax, duplicate keys, NaN or deep nesting."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SourceInvalid(error.msg, rule="syntax", file=name, line=error.lineno, column=error.colno) from error
    except ValueError as error:  # from the hooks, and for an integer of thousands of digits
        raise SourceInvalid(str(error).partition(";")[0], rule="syntax", file=name) from error
    except RecursionError as error:
        problem = f"it is nested more than {MAX_DEPTH} levels deep"
        raise SourceInvalid(problem, rule="depth", file=name) from error


def check_json(value: Any, name: str) -> None:
    """Raise SourceInvalid unless `value` is JSON: finite, not too deep, not too large once aliases are followed."""
    nodes = 0
    pending = [(value, 0)]
    while pending:
        node, depth = pending.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise SourceInvalid(f"it holds more than {MAX_NODES} values", rule="size", file=name)
        if depth > MAX_DEPTH:
            raise SourceInvalid(f"it is nested more than {MAX_DEPTH} levels deep", rule="depth", file=name)
        if isinstance(node, dict):
            pending.extend((part, depth + 1) for part in (*node.keys(), *node.values()))
        elif isinstance(node, list):
            pending.extend((part, depth + 1) for part in node)
        else:
            _check_scalar(node, name)


def canonical(value: Any) -> bytes:
    """Return checked `value` as it travels: JSON in UTF-8, keys sorted, no white space."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def _read(file: str) -> bytes:
    content = read_at_most(file, limit=MAX_SOURCE_BYTES)
    if content is None:
        raise Failure(f"can't take {file}: it is larger than {MAX_SOURCE_BYTES // 1024**2} MiB")
    return content


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceInvalid("it is not UTF-8", rule="encoding", file=name, line=line) from error


def _load_either(text: str, name: str) -> Any:
    """Read JSON or YAML. What begins like JSON must be JSON: as YAML, a slip such as `tru` would become a string."""
    return load_json(text, name) if text.lstrip()[0] in '{["' else load_yaml(text, file=name)


def _load_toml(text: str, name: str) -> Any:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SourceInvalid(str(error) or "it is nested too deeply", rule="syntax", file=name) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {key!r} stands twice")
        document[key] = value
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _check_scalar(value: Any, name: str) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SourceInvalid("a string holds half a character", rule="encoding", file=name) from error
    elif isinstance(value, float) and not math.isfinite(value):
        raise SourceInvalid("a number is infinite, or none at all", rule="syntax", file=name)
    elif value is not None and not isinstance(value, bool | int | float):
        problem = f"JSON has no {type(value).__name__}: write it as a string"
        raise SourceInvalid(problem, rule="syntax", file=name)
