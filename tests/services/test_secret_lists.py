from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from services.daemon import Services, reason_of
from services.secret_calls import keeping, put
from vestry.v1 import secrets_pb2 as pb
from vestryd.services.paging import page_token


async def pages(services: Services, method: str, request: Any, items: str) -> list[list[Any]]:
    """Return the items of each page of a list."""
    found = []
    while True:
        page = await services.ask(method, request)
        found.append(list(getattr(page, items)))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


class TestListSecrets:
    """Secrets by name."""

    @pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 5), (2, 3), (5, 1), (100, 1)])
    async def test_pages_hold_all_in_order(self, size: int, count: int) -> None:
        """However large they are; the last one says that it is."""
        async with keeping() as services:
            for name in "dbeca":
                await put(services, name)
            await put(services, "z", namespace="other")
            found = await pages(services, "ListSecrets", pb.ListSecretsRequest(page_size=size), "secrets")
            assert [one.name for page in found for one in page] == list("abcde")
            assert len(found) == count

    async def test_a_prefix_and_deleted_ones(self) -> None:
        """Deleted ones are listed for who asks for them."""
        async with keeping() as services:
            for name in ("api-a", "api-b", "db"):
                await put(services, name)
            await services.ask("DeleteSecret", pb.DeleteSecretRequest(name="api-a"))
            for include_deleted, names in ((False, ["api-b"]), (True, ["api-a", "api-b"])):
                request = pb.ListSecretsRequest(name_prefix="api-", include_deleted=include_deleted)
                assert [one.name for one in (await services.ask("ListSecrets", request)).secrets] == names

    async def test_a_page_token_belongs_to_its_list(self) -> None:
        """Another prefix is another list."""
        async with keeping() as services:
            await put(services, "a")
            await put(services, "b")
            token = (await services.ask("ListSecrets", pb.ListSecretsRequest(page_size=1))).next_page_token
            other = pb.ListSecretsRequest(name_prefix="b", page_token=token)
            assert await reason_of(services, "ListSecrets", other) == "PAGE_TOKEN_INVALID"


async def test_versions_come_newest_first() -> None:
    """Page by page, with the state of each."""
    async with keeping() as services:
        for number in range(5):
            await put(services, value=b"v" * (number + 1))
        request = pb.ListSecretVersionsRequest(name="key", page_size=2)
        found = await pages(services, "ListSecretVersions", request, "versions")
        assert [[one.version for one in page] for page in found] == [[5, 4], [3, 2], [1]]
        current, previous, old = found[0][0], found[0][1], found[2][0]
        assert [one.state for one in (current, previous, old)] == [
            pb.SECRET_VERSION_STATE_CURRENT,
            pb.SECRET_VERSION_STATE_PREVIOUS,
            pb.SECRET_VERSION_STATE_OLD,
        ]


class TestRotationStatus:
    """What is due."""

    async def test_the_most_due_come_first(self) -> None:
        """Those without a period are no part of it; two that fall due at once are in the order of their names."""
        async with keeping() as services:
            for name, hours in (("slow", 10), ("b", 1), ("a", 1)):
                policy = pb.RotationPolicy(period=Duration(seconds=hours * 3600))
                await put(services, name, settings=pb.SecretSettings(rotation=policy))
            await put(services, "never")
            services.engine.clock.advance(hours=1)
            request = pb.GetRotationStatusRequest(page_size=1)
            found = await pages(services, "GetRotationStatus", request, "secrets")
            assert [(one.name, one.rotation_state) for page in found for one in page] == [
                ("a", pb.ROTATION_STATE_DUE),
                ("b", pb.ROTATION_STATE_DUE),
                ("slow", pb.ROTATION_STATE_SCHEDULED),
            ]
            services.engine.clock.advance(hours=1)
            late = await services.ask("GetRotationStatus", pb.GetRotationStatusRequest(only_due=True))
            assert ([one.name for one in late.secrets], late.due, late.overdue) == (["a", "b"], 0, 2)

    @pytest.mark.parametrize("position", ["now a", "2026-01-01T00:00:00 a"])
    async def test_a_position_that_nobody_gave_is_refused(self, position: str) -> None:
        """Also one without a time zone, which can't be compared."""
        async with keeping() as services:
            request = pb.GetRotationStatusRequest(page_token=page_token("rotations/default/False", position))
            assert await reason_of(services, "GetRotationStatus", request) == "PAGE_TOKEN_INVALID"
