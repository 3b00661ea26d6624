from __future__ import annotations

import pytest

from services.daemon import Services, reason_of, serving, sources
from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb

SCHEMA = {"type": "object", "properties": {"port": {"type": "integer"}, "token": {"type": "string", "writeOnly": True}}}
DEFAULT = common.LAYER_DEFAULT
ENVIRONMENT = common.LAYER_ENVIRONMENT
OVERRIDE = common.LAYER_OVERRIDE
RUNTIME = common.LAYER_RUNTIME


class TestStatus:
    """How namespaces stand to their files."""

    async def drifted(self, services: Services) -> list[int]:
        """Return the layers that differ from their files."""
        found = await services.ask("GetConfigStatus", pb.GetConfigStatusRequest())
        return [one.layer for one in found.layers if one.drifted]

    async def test_every_layer_is_told(self) -> None:
        """Also those that say nothing, with the place of their file."""
        async with serving(sources=sources(default={"n": 1})) as services:
            found = await services.ask("GetConfigStatus", pb.GetConfigStatusRequest())
            assert (found.environment, found.version, found.oldest_version) == ("production", 1, 1)
            assert [(one.layer, one.file, one.present, one.HasField("ingest_time")) for one in found.layers] == [
                (DEFAULT, "/etc/vestry/default/default.json", True, True),
                (ENVIRONMENT, "/etc/vestry/default/environment.json", False, False),
                (OVERRIDE, "/etc/vestry/default/override.json", False, False),
                (RUNTIME, "", False, False),
            ]
            assert not found.HasField("rejection")

    async def test_a_layer_drifts_when_it_was_rolled_back(self) -> None:
        """Until somebody edits the file; the runtime layer has no file to drift from."""
        files = sources(default={"n": 1})
        async with serving(sources=files) as services:
            files.write("default", default={"n": 2})
            await services.engine.ingestion.reload()
            assert await self.drifted(services) == []
            await services.ask("RollbackConfig", pb.RollbackConfigRequest(version=1))
            await services.update(b'{"m": 1}')
            assert await self.drifted(services) == [DEFAULT]
            files.write("default", default={"n": 3})
            await services.engine.ingestion.reload()
            assert await self.drifted(services) == []

    async def test_a_layer_drifts_while_its_file_is_rejected(self) -> None:
        """The status says why."""
        files = sources(schema=SCHEMA, default={"port": 1})
        async with serving(sources=files) as services:
            for content in ({"port": "x"}, b"{"):
                files.write("default", default=content)
                await services.engine.ingestion.reload()
                assert await self.drifted(services) == [DEFAULT]
            found = await services.ask("GetConfigStatus", pb.GetConfigStatusRequest())
            assert [(one.rule, one.file) for one in found.rejection.violations] == [
                ("syntax", "/etc/vestry/default/default.json")
            ]

    async def test_namespaces_are_paged_by_name(self) -> None:
        """With what an administrator looks at first."""
        files = sources(default={"n": 1})
        for name in ("b", "a", "c"):
            files.write(name, default={"n": 1})
        async with serving(sources=files) as services:
            files.write("c", default=b"{")
            await services.engine.ingestion.reload()
            first = await services.ask("ListNamespaces", pb.ListNamespacesRequest(page_size=2))
            rest = await services.ask("ListNamespaces", pb.ListNamespacesRequest(page_token=first.next_page_token))
            assert [[one.namespace for one in page.namespaces] for page in (first, rest)] == [
                ["a", "b"],
                ["c", "default"],
            ]
            assert [(one.drifted, one.rejected) for one in rest.namespaces] == [(True, True), (False, False)]
            assert rest.next_page_token == ""


class TestReloadConfig:
    """Reading the files at once."""

    async def test_it_tells_what_became_of_each_namespace(self) -> None:
        """One result for each, by name; a rejection is an answer, not an error."""
        files = sources(default={"n": 1})
        files.write("billing", default={"n": 1})
        async with serving(sources=files) as services:
            files.write("default", default={"n": 2})
            files.write("billing", default=b"{")
            found = await services.ask("ReloadConfig", pb.ReloadConfigRequest())
            assert [(one.namespace, one.version, one.changed, one.HasField("rejection")) for one in found.results] == [
                ("billing", 1, False, True),
                ("default", 2, True, False),
            ]

    async def test_one_namespace_can_be_reloaded_by_itself(self) -> None:
        """Also a new one; the others are not looked at."""
        files = sources(default={"n": 1})
        async with serving(sources=files) as services:
            files.write("default", default={"n": 2})
            files.write("billing", default={"n": 1})
            found = await services.ask("ReloadConfig", pb.ReloadConfigRequest(namespace="billing"))
            assert [one.namespace for one in found.results] == ["billing"]
            assert services.engine.effective() == {"n": 1}

    @pytest.mark.parametrize(("name", "reason"), [("nowhere", "DOCUMENT_NOT_FOUND"), ("..", "INVALID_FIELD")])
    async def test_an_unknown_namespace_is_refused(self, name: str, reason: str) -> None:
        """There is neither a file nor a document."""
        async with serving(sources=sources(default={"n": 1})) as services:
            assert await reason_of(services, "ReloadConfig", pb.ReloadConfigRequest(namespace=name)) == reason
