from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from services.daemon import Services, reason_of, serving, sources
from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb

DEFAULT = common.LAYER_DEFAULT
OVERRIDE = common.LAYER_OVERRIDE
RUNTIME = common.LAYER_RUNTIME


class TestHistory:
    """Versions."""

    async def pages(self, services: Services, size: int) -> list[list[int]]:
        """Return the numbers on each page."""
        found, token = [], ""
        while True:
            request = pb.ListConfigVersionsRequest(page_size=size, page_token=token)
            page = await services.ask("ListConfigVersions", request)
            found.append([one.version for one in page.versions])
            token = page.next_page_token
            if not token:
                return found

    async def test_versions_are_paged_newest_first(self) -> None:
        """Each once, and the last page has no token."""
        async with serving(sources=sources(default={"n": 1})) as services:
            for number in range(2, 8):
                await services.update(b'{"n": %d}' % number)
            assert await self.pages(services, 3) == [[7, 6, 5], [4, 3, 2], [1]]
            assert await self.pages(services, 7) == [[7, 6, 5, 4, 3, 2, 1]]

    async def test_pages_stand_while_versions_are_made(self) -> None:
        """A token leads below what was listed, whatever comes above."""
        async with serving(sources=sources(default={"n": 1})) as services:
            await services.update(b'{"n": 2}')
            page = await services.ask("ListConfigVersions", pb.ListConfigVersionsRequest(page_size=1))
            await services.update(b'{"n": 3}')
            request = pb.ListConfigVersionsRequest(page_size=1, page_token=page.next_page_token)
            assert [one.version for one in (await services.ask("ListConfigVersions", request)).versions] == [1]

    @pytest.mark.parametrize("position", ["x", "", "1.5", "9" * 5000])
    async def test_a_forged_page_token_is_refused(self, position: str) -> None:
        """Even when it names the right list."""
        token = base64.urlsafe_b64encode(f"versions/config/default\n{position}".encode()).decode()
        async with serving(sources=sources(default={"n": 1})) as services:
            request = pb.ListConfigVersionsRequest(page_token=token)
            if position:
                assert await reason_of(services, "ListConfigVersions", request) == "PAGE_TOKEN_INVALID"
            else:
                assert len((await services.ask("ListConfigVersions", request)).versions) == 1

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"page_size": -1}, "INVALID_FIELD"),
            ({"page_token": "garbage"}, "PAGE_TOKEN_INVALID"),
            ({"namespace": "nowhere"}, "DOCUMENT_NOT_FOUND"),
        ],
    )
    async def test_bad_pages_are_refused(self, fields: dict[str, Any], reason: str) -> None:
        """Each with its reason."""
        async with serving(sources=sources(default={"n": 1})) as services:
            request = pb.ListConfigVersionsRequest(**fields)
            assert await reason_of(services, "ListConfigVersions", request) == reason

    async def test_a_version_is_told_with_its_layers(self) -> None:
        """In folding order, with the files that they came from; 0 means the current one."""
        async with serving(sources=sources(default={"n": 1}, override={"m": 1})) as services:
            await services.update(b'{"n": 2}')
            found = await services.ask("GetConfigVersion", pb.GetConfigVersionRequest())
            assert (found.version.version, found.document) == (2, b'{"m":1,"n":2}')
            assert [(one.layer, one.document, one.file) for one in found.layers] == [
                (DEFAULT, b'{"n":1}', "/etc/vestry/default/default.json"),
                (OVERRIDE, b'{"m":1}', "/etc/vestry/default/override.json"),
                (RUNTIME, b'{"n":2}', ""),
            ]
            assert list(found.version.changed_layers) == [RUNTIME]

    async def test_versions_are_compared_either_way(self) -> None:
        """0 means the current one."""
        async with serving(sources=sources(default={"n": 1})) as services:
            await services.update(b'{"n": 2}')
            for start, end, value in ((1, 0, 2), (2, 1, 1)):
                request = pb.DiffConfigVersionsRequest(from_version=start, to_version=end)
                found = await services.ask("DiffConfigVersions", request)
                assert (found.from_version, found.to_version) == (start, end or 2)
                assert json.loads(found.patch) == [{"op": "replace", "path": "/n", "value": value}]

    @pytest.mark.parametrize(
        ("method", "request_", "reason"),
        [
            ("GetConfigVersion", pb.GetConfigVersionRequest(version=9), "VERSION_NOT_FOUND"),
            ("GetConfigVersion", pb.GetConfigVersionRequest(version=-1), "INVALID_FIELD"),
            ("DiffConfigVersions", pb.DiffConfigVersionsRequest(from_version=9), "VERSION_NOT_FOUND"),
            ("DiffConfigVersions", pb.DiffConfigVersionsRequest(to_version=-9), "INVALID_FIELD"),
            ("RollbackConfig", pb.RollbackConfigRequest(), "INVALID_FIELD"),
            ("RollbackConfig", pb.RollbackConfigRequest(version=9), "VERSION_NOT_FOUND"),
            ("RollbackConfig", pb.RollbackConfigRequest(version=1, expected_version=9), "VERSION_MISMATCH"),
        ],
    )
    async def test_versions_that_are_not_there_are_told(self, method: str, request_: Any, reason: str) -> None:
        """Each with its reason."""
        async with serving(sources=sources(default={"n": 1})) as services:
            assert await reason_of(services, method, request_) == reason

    async def test_a_rollback_says_what_it_changes(self) -> None:
        """A dry run too, which changes nothing."""
        async with serving(sources=sources(default={"n": 1})) as services:
            await services.update(b'{"n": 2}')
            dry = await services.ask("RollbackConfig", pb.RollbackConfigRequest(version=1, dry_run=True))
            assert services.engine.effective() == {"n": 2}
            real = await services.ask("RollbackConfig", pb.RollbackConfigRequest(version=1))
            assert services.engine.effective() == {"n": 1}
            assert (dry.version, dry.changed, dry.patch) == (real.version, real.changed, real.patch)
            again = await services.ask("RollbackConfig", pb.RollbackConfigRequest(version=1))
            assert (again.version, again.changed) == (3, False)
