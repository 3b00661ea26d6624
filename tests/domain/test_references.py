from __future__ import annotations

from typing import Any

import pytest

from engine import FakeSources, running
from vestryd.domain.errors import InvalidField, SourceInvalid
from vestryd.domain.references import Reference, check_references, find, replace

PASSWORD = {"$secret": "namespaces/billing/secrets/db-password"}
SCHEMA = {
    "type": "object",
    "properties": {"password": {"type": "string", "minLength": 8}, "port": {"type": "integer"}},
    "required": ["password"],
}


def test_a_reference_names_a_namespace_and_a_secret() -> None:
    """As access rules write the secret's path."""
    assert Reference.parse(PASSWORD["$secret"]) == Reference("billing", "db-password")


@pytest.mark.parametrize(
    "text",
    [
        "db-password",
        "namespaces/billing/secrets",
        "namespaces//secrets/x",
        "namespaces/billing/config/x",
        "namespaces/billing/secrets/..",
        "/namespaces/billing/secrets/x",
        "namespaces/billing/secrets/x/y",
        "",
        7,
        None,
        {},
    ],
)
def test_anything_else_is_none(text: object) -> None:
    """Wherever a name or a part of the path is wrong."""
    with pytest.raises(InvalidField):
        Reference.parse(text)
    with pytest.raises(SourceInvalid) as caught:
        check_references({"a": [{"$secret": text}]})
    assert [(one.pointer, one.rule) for one in caught.value.violations] == [("/a/0/$secret", "secret")]


def test_a_reference_has_no_other_members() -> None:
    """They would be lost when the value takes its place."""
    with pytest.raises(SourceInvalid, match="no other member"):
        check_references({"a": {**PASSWORD, "user": "root"}})


def test_references_are_found_and_replaced_wherever_they_are() -> None:
    """In objects and arrays, and at the root; everything else stays as it is."""
    document: Any = {"a": [1, PASSWORD], "b": {"c/d": PASSWORD}, "e": None}
    assert [path for path, _ in find(document)] == [("a", "1"), ("b", "c/d")]
    assert replace(document, lambda _found: "hush") == {"a": [1, "hush"], "b": {"c/d": "hush"}, "e": None}
    assert replace(PASSWORD, lambda _found: "hush") == "hush"


async def test_a_schema_speaks_of_the_value_not_of_the_reference() -> None:
    """So a reference may stand where the schema wants a text; what else is wrong is wrong still."""
    sources = FakeSources()
    sources.write("default", schema=SCHEMA, default={"password": PASSWORD, "port": 1})
    async with running(sources=sources) as engine:
        await engine.ingestion.reload()
        assert engine.effective() == {"password": PASSWORD, "port": 1}
        sources.write("default", default={"password": PASSWORD, "port": "x"})
        (reloaded,) = await engine.ingestion.reload()
        assert reloaded.rejection
        assert [one.pointer for one in reloaded.rejection.violations] == ["/port"]
        sources.write("default", default={"password": {"$secret": "oops"}})
        (reloaded,) = await engine.ingestion.reload()
        assert reloaded.rejection
        assert [one.rule for one in reloaded.rejection.violations] == ["secret"]
