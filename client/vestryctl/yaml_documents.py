"""YAML as documents need it: the JSON subset of YAML 1.2's core schema, read and written so that values survive."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from vestryctl.failures import SourceInvalid

MAX_DEPTH = 100  # protects this program; the daemon allows less, and says so

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _Loader(yaml.CSafeLoader):
    """Reads with YAML 1.2's core schema, where NO is a word and 12:30:45 no number, and refuses duplicate keys."""

    yaml_implicit_resolvers: ClassVar[Any] = {}  # type: ignore[misc]  # a class variable in truth

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                problem = "merge keys (<<) are not part of YAML 1.2: write the members out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be a string: quote it", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)

    def construct_core_float(self, node: yaml.ScalarNode) -> float:
        text = str(node.value).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.CSafeDumper):
    """Quotes every string that a YAML 1.1 or a YAML 1.2 reader could take for something else."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _add_core_schema() -> None:
    null, boolean = re.compile(r"~|null|Null|NULL|"), re.compile(r"true|True|TRUE|false|False|FALSE")
    for tag, pattern, first in (
        ("bool", boolean, "tTfF"),
        ("int", _INT, "-+0123456789"),
        ("float", _FLOAT, "-+.0123456789"),
        ("null", null, ["~", "n", "N", ""]),
        ("merge", re.compile(r"<<"), "<"),
    ):
        anchored = re.compile(rf"(?:{pattern.pattern})\Z")
        for class_ in (_Loader, _Dumper):
            class_.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", anchored, list(first))
    _Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_core_int)
    _Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_core_float)


_add_core_schema()


def load_yaml(text: str, *, file: str) -> Any:
    """Return what `text` says; SourceInvalid, with line and column, when it isn't one YAML document of JSON values.

    Aliases are followed, so the answer may be larger than the text, or contain itself: check it before use.
    """
    try:
        _check_depth(text, file)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise SourceInvalid(problem, rule="syntax", file=file, line=line, column=column) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SourceInvalid(f"it is not YAML: {error}".splitlines()[0], rule="syntax", file=file) from error


def _check_depth(text: str, file: str) -> None:
    """Refuse deep nesting by looking at the parser's events: composing nodes recurses, and crashes the interpreter."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            problem = f"it is nested more than {MAX_DEPTH} levels deep"
            raise SourceInvalid(problem, rule="depth", file=file)


def dump_yaml(value: Any) -> str:
    """Return `value` as a YAML document that ends with a line break; keys stay in their order."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)
