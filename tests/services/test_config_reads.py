from __future__ import annotations

import json
from typing import Any

import pytest

from services.daemon import reason_of, serving, sources
from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb

SCHEMA = {"type": "object", "properties": {"port": {"type": "integer"}, "token": {"type": "string", "writeOnly": True}}}
DEFAULT = common.LAYER_DEFAULT
ENVIRONMENT = common.LAYER_ENVIRONMENT
OVERRIDE = common.LAYER_OVERRIDE
RUNTIME = common.LAYER_RUNTIME


class TestGetConfig:
    """Reading."""

    async def test_the_whole_document_is_canonical(self) -> None:
        """An empty namespace means `default`; the answer tells version, checksum and revision."""
        async with serving(sources=sources(default={"b": 1, "a": {"c": 2**60}})) as services:
            found = await services.ask("GetConfig", pb.GetConfigRequest())
            assert (found.namespace, found.version) == ("default", 1)
            assert found.value == b'{"a":{"c":1152921504606846976},"b":1}'
            assert len(found.checksum) == 64
            assert found.revision == common.StoreRevision(
                store_id=services.engine.store.store_id,
                incarnation=services.engine.store.incarnation,
                revision=1,
            )

    @pytest.mark.parametrize(
        ("pointer", "value"), [("/a", b'{"b":[1,{"c":null}]}'), ("/a/b/1", b'{"c":null}'), ("/~1~0", b'""')]
    )
    async def test_a_part_is_read_by_its_pointer(self, pointer: str, value: bytes) -> None:
        """RFC 6901; the checksum stays that of the whole."""
        async with serving(sources=sources(default={"a": {"b": [1, {"c": None}]}, "/~": ""})) as services:
            whole = await services.ask("GetConfig", pb.GetConfigRequest())
            found = await services.ask("GetConfig", pb.GetConfigRequest(pointer=pointer))
            assert (found.value, found.checksum) == (value, whole.checksum)

    async def test_an_older_version_is_read_by_number(self) -> None:
        """With pointer and provenance as well."""
        async with serving(sources=sources(default={"a": 1, "b": 1})) as services:
            await services.update(b'{"a": 2}')
            await services.update(b'{"a": 3}')
            request = pb.GetConfigRequest(version=2, pointer="/a", include_provenance=True)
            found = await services.ask("GetConfig", request)
            assert (found.version, found.value) == (2, b"2")
            assert [(one.pointer, one.layer) for one in found.provenance] == [("/a", RUNTIME)]

    async def test_provenance_tells_the_layer_of_each_leaf(self) -> None:
        """Those below the pointer alone, and only when asked for."""
        files = sources(default={"a": {"b": 1, "c": 1}, "ab": 1}, override={"a": {"c": 2, "d": {}}})
        async with serving(sources=files) as services:
            found = await services.ask("GetConfig", pb.GetConfigRequest(pointer="/a", include_provenance=True))
            assert [(one.pointer, one.layer) for one in found.provenance] == [
                ("/a/b", DEFAULT),
                ("/a/c", OVERRIDE),
                ("/a/d", OVERRIDE),
            ]
            assert not (await services.ask("GetConfig", pb.GetConfigRequest())).provenance

    async def test_what_is_inside_of_an_array_comes_from_the_arrays_layer(self) -> None:
        """Arrays replace: one layer set all that is in it."""
        async with serving(sources=sources(default={"a": [1]}, override={"a": [{"b": 2}]})) as services:
            for pointer, leaf in (("/a", "/a"), ("/a/0", "/a/0/b"), ("/a/0/b", "/a/0/b")):
                request = pb.GetConfigRequest(pointer=pointer, include_provenance=True)
                found = await services.ask("GetConfig", request)
                assert [(one.pointer, one.layer) for one in found.provenance] == [(leaf, OVERRIDE)]

    @pytest.mark.parametrize(
        ("request_fields", "reason"),
        [
            ({"namespace": "nowhere"}, "DOCUMENT_NOT_FOUND"),
            ({"namespace": "../etc"}, "INVALID_FIELD"),
            ({"pointer": "/b"}, "POINTER_NOT_FOUND"),
            ({"pointer": "/a/0"}, "POINTER_NOT_FOUND"),
            ({"pointer": "a"}, "INVALID_FIELD"),
            ({"pointer": "/~2"}, "INVALID_FIELD"),
            ({"version": 2}, "VERSION_NOT_FOUND"),
            ({"version": -1}, "INVALID_FIELD"),
        ],
    )
    async def test_bad_requests_are_told(self, request_fields: dict[str, Any], reason: str) -> None:
        """Each with its reason."""
        async with serving(sources=sources(default={"a": 1})) as services:
            assert await reason_of(services, "GetConfig", pb.GetConfigRequest(**request_fields)) == reason


class TestExplainConfig:
    """Who says what."""

    async def explain(self, pointer: str = "", **files: Any) -> list[tuple[str, str, int, list[tuple[int, str]]]]:
        """Return (pointer, value, layer, opinions) of each leaf."""
        async with serving(sources=sources(**files)) as services:
            found = await services.ask("ExplainConfig", pb.ExplainConfigRequest(pointer=pointer))
            return [
                (one.pointer, one.value.decode(), one.layer, [(it.layer, it.value.decode()) for it in one.opinions])
                for one in found.leaves
            ]

    async def test_each_layers_opinion_is_told_in_folding_order(self) -> None:
        """And the last one decides."""
        found = await self.explain(default={"a": 1}, environment={"a": 2}, override={"b": 3})
        assert found == [
            ("/a", "2", ENVIRONMENT, [(DEFAULT, "1"), (ENVIRONMENT, "2")]),
            ("/b", "3", OVERRIDE, [(OVERRIDE, "3")]),
        ]

    async def test_a_deleted_leaf_is_hidden_by_the_layer_that_says_null(self) -> None:
        """Its value is empty; the null is that layer's opinion."""
        assert await self.explain("/a", default={"a": 1, "b": 1}, override={"a": None}) == [
            ("/a", "", OVERRIDE, [(DEFAULT, "1"), (OVERRIDE, "null")])
        ]

    async def test_leaves_below_what_is_deleted_or_replaced_are_hidden(self) -> None:
        """By the layer that said something above them that is not an object."""
        found = await self.explain(default={"a": {"x": 1}, "b": {"y": 1}}, override={"a": None, "b": 5})
        assert [(pointer, value, layer) for pointer, value, layer, _ in found] == [
            ("/a", "", OVERRIDE),
            ("/a/x", "", OVERRIDE),
            ("/b", "5", OVERRIDE),
            ("/b/y", "", OVERRIDE),
        ]

    async def test_an_array_is_one_leaf(self) -> None:
        """A later one replaces it whole."""
        assert await self.explain(default={"a": [1, 2]}, override={"a": [3]}) == [
            ("/a", "[3]", OVERRIDE, [(DEFAULT, "[1,2]"), (OVERRIDE, "[3]")])
        ]

    async def test_a_place_inside_of_an_array_is_explained_by_the_arrays_layer(self) -> None:
        """What an earlier array has beyond the end of the later one is hidden by that."""
        files = {"default": {"a": [1, 2]}, "override": {"a": [3]}}
        assert await self.explain("/a/0", **files) == [("/a/0", "3", OVERRIDE, [(DEFAULT, "1"), (OVERRIDE, "3")])]
        assert await self.explain("/a/1", **files) == [("/a/1", "", OVERRIDE, [(DEFAULT, "2")])]

    async def test_an_object_that_lost_its_members_belongs_to_who_took_the_last(self) -> None:
        """No layer says `{}`, and yet it is there."""
        found = await self.explain(default={"a": {"b": 1}}, override={"a": {"b": None}})
        assert [(pointer, value, layer) for pointer, value, layer, _ in found] == [
            ("/a", "{}", OVERRIDE),
            ("/a/b", "", OVERRIDE),
        ]

    async def test_the_files_of_the_layers_are_named(self) -> None:
        """The runtime layer has none."""
        async with serving(sources=sources(default={"a": 1})) as services:
            await services.update(b'{"a": 2}')
            found = await services.ask("ExplainConfig", pb.ExplainConfigRequest())
            assert [one.file for one in found.leaves[0].opinions] == ["/etc/vestry/default/default.json", ""]

    @pytest.mark.parametrize(
        ("files", "pointer", "reason"),
        [
            ({"default": {"a": 1}}, "/b", "POINTER_NOT_FOUND"),
            ({"default": {"a": 1}}, "b", "INVALID_FIELD"),
            ({"schema": SCHEMA}, "", "POINTER_NOT_FOUND"),
        ],
    )
    async def test_where_no_layer_says_anything_there_is_nothing(
        self, files: dict[str, Any], pointer: str, reason: str
    ) -> None:
        """Also in a namespace that has a schema and no layers."""
        async with serving(sources=sources(**files)) as services:
            assert await reason_of(services, "ExplainConfig", pb.ExplainConfigRequest(pointer=pointer)) == reason


class TestTheSchema:
    """What documents must meet."""

    async def test_the_schema_is_canonical(self) -> None:
        """With its checksum."""
        async with serving(sources=sources(schema=SCHEMA, default={"port": 1})) as services:
            found = await services.ask("GetConfigSchema", pb.GetConfigSchemaRequest())
            assert json.loads(found.schema) == SCHEMA
            assert len(found.checksum) == 64

    async def test_a_namespace_may_have_none(self) -> None:
        """Which is told."""
        async with serving(sources=sources(default={})) as services:
            assert await reason_of(services, "GetConfigSchema", pb.GetConfigSchemaRequest()) == "SCHEMA_NOT_FOUND"


class TestValidateConfig:
    """Checking."""

    @pytest.mark.parametrize(
        ("layer", "document", "rules"),
        [
            (common.LAYER_UNSPECIFIED, b'{"port": 1}', []),
            (common.LAYER_UNSPECIFIED, b'{"port": "x"}', ["type"]),
            (common.LAYER_UNSPECIFIED, b"{", ["syntax"]),
            (common.LAYER_UNSPECIFIED, b"[]", ["type"]),
            (RUNTIME, b'{"port": null}', []),
            (RUNTIME, b'{"port": "x"}', ["type"]),
            (DEFAULT, b'{"port": "x"}', []),  # hidden by the override
            (OVERRIDE, b"{}", []),
        ],
    )
    async def test_a_document_is_checked_as_the_layer_that_it_would_be(
        self, layer: common.Layer.ValueType, document: bytes, rules: list[str]
    ) -> None:
        """Or as the whole; a document that breaks rules is an answer, not an error, and changes nothing."""
        files = sources(schema=SCHEMA, default={"port": 1}, override={"port": 2})
        async with serving(sources=files) as services:
            request = pb.ValidateConfigRequest(layer=layer, document=document)
            found = await services.ask("ValidateConfig", request)
            assert (found.valid, [one.rule for one in found.violations]) == (not rules, rules)
            assert found.version == services.engine.configs.get("default").version.number == 1

    async def test_a_layer_that_does_not_exist_is_refused(self) -> None:
        """The field is named."""
        async with serving(sources=sources(default={})) as services:
            request = pb.ValidateConfigRequest(layer=common.Layer.ValueType(9), document=b"{}")
            assert await reason_of(services, "ValidateConfig", request) == "INVALID_FIELD"
