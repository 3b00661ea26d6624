from __future__ import annotations

import json
from typing import Any

import pytest

from callers import user
from services.daemon import Refused, reason_of, serving, sources
from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.retention import Limits, Retention
from vestryd.domain.store import Commit
from vestryd.stores.memory import MemoryStore

SCHEMA = {"type": "object", "properties": {"port": {"type": "integer"}, "token": {"type": "string", "writeOnly": True}}}


class TestUpdateConfig:
    """Writing."""

    async def test_a_patch_changes_the_runtime_layer(self) -> None:
        """A null takes a key out of it, and what the files say shows again."""
        async with serving(sources=sources(default={"a": 1})) as services:
            first = await services.update(b'{"a": 2, "b": 3}', message="why")
            assert (first.version, first.changed, first.revision.revision) == (2, True, 2)
            assert json.loads(first.patch) == [
                {"op": "replace", "path": "/a", "value": 2},
                {"op": "add", "path": "/b", "value": 3},
            ]
            await services.update(b'{"a": null}')
            assert services.engine.effective() == {"a": 1, "b": 3}
            version = (await services.ask("GetConfigVersion", pb.GetConfigVersionRequest(version=2))).version
            assert (version.author, version.message, version.cause) == ("user:tester", "why", common.CAUSE_UPDATE)

    async def test_a_replacement_is_the_whole_runtime_layer(self) -> None:
        """A null in it deletes what the files say."""
        async with serving(sources=sources(default={"a": 1, "b": 1})) as services:
            await services.update(b'{"c": 1}')
            await services.ask("UpdateConfig", pb.UpdateConfigRequest(replace=b'{"a": null}'))
            assert services.engine.effective() == {"b": 1}

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({}, "INVALID_FIELD"),
            ({"merge_patch": b""}, "DOCUMENT_INVALID"),
            ({"merge_patch": b"{"}, "DOCUMENT_INVALID"),
            ({"merge_patch": b"[]"}, "DOCUMENT_INVALID"),
            ({"merge_patch": b"\xff"}, "DOCUMENT_INVALID"),
            ({"replace": b"null"}, "DOCUMENT_INVALID"),
            ({"merge_patch": b'{"port": "x"}'}, "DOCUMENT_INVALID"),
            ({"merge_patch": b"{}", "expected_version": 0}, "VERSION_MISMATCH"),
            ({"merge_patch": b"{}", "expected_version": 7}, "VERSION_MISMATCH"),
            ({"merge_patch": b"{}", "message": "x" * 1025}, "INVALID_FIELD"),
            ({"merge_patch": b"{}", "request_id": "x" * 129}, "INVALID_FIELD"),
            ({"merge_patch": b"{}", "request_id": "two\nlines"}, "INVALID_FIELD"),
            ({"merge_patch": b"{}", "request_id": "é"}, "INVALID_FIELD"),
            ({"merge_patch": b"{}", "namespace": "nowhere"}, "DOCUMENT_NOT_FOUND"),
            ({"merge_patch": b'{"text": "' + b"x" * (1024 * 1024 - 100) + b'"}'}, "LIMIT_EXCEEDED"),
        ],
    )
    async def test_bad_updates_are_told_and_change_nothing(self, fields: dict[str, Any], reason: str) -> None:
        """Each with its reason."""
        async with serving(sources=sources(schema=SCHEMA, default={"port": 1})) as services:
            assert await reason_of(services, "UpdateConfig", pb.UpdateConfigRequest(**fields)) == reason
            assert services.engine.configs.get("default").version.number == 1

    async def test_a_secret_is_not_in_the_refusal(self) -> None:
        """Of a value that the schema marks, only its place is told."""
        async with serving(sources=sources(schema=SCHEMA, default={"port": 1})) as services:
            with pytest.raises(Refused) as caught:
                await services.update(b'{"token": 31337}')
            assert "/token" in caught.value.message
            assert "31337" not in caught.value.message

    async def test_a_dry_run_leaves_its_request_id_unused(self) -> None:
        """The same id then serves the real thing."""
        async with serving(sources=sources(default={"a": 1})) as services:
            dry = await services.update(b'{"a": 2}', dry_run=True, request_id="r")
            real = await services.update(b'{"a": 2}', request_id="r")
            assert (dry.version, real.version, real.changed) == (2, 2, True)

    async def test_a_repetition_answers_what_the_first_call_did(self) -> None:
        """With the patch and the revision of then."""
        async with serving(sources=sources(default={"a": 1})) as services:
            first = await services.update(b'{"a": 2}', request_id="r")
            await services.update(b'{"a": 3}')
            assert await services.update(b'{"a": 2}', request_id="r") == first

    async def test_an_id_is_for_one_request(self) -> None:
        """A different one under the same id is refused, of another method too."""
        async with serving(sources=sources(default={"a": 1})) as services:
            await services.update(b'{"a": 2}', request_id="r")
            update = pb.UpdateConfigRequest(merge_patch=b'{"a": 3}', request_id="r")
            assert await reason_of(services, "UpdateConfig", update) == "REQUEST_ID_REUSED"
            rollback = pb.RollbackConfigRequest(version=1, request_id="r")
            assert await reason_of(services, "RollbackConfig", rollback) == "REQUEST_ID_REUSED"

    async def test_an_id_is_for_one_caller(self) -> None:
        """Another caller with the same request is not answered in the first one's place."""
        async with serving(sources=sources(default={"a": 1})) as services:
            await services.update(b'{"a": 2}', request_id="r")
            services.callers.caller = user("bob")
            update = pb.UpdateConfigRequest(merge_patch=b'{"a": 2}', request_id="r")
            assert await reason_of(services, "UpdateConfig", update) == "REQUEST_ID_REUSED"

    async def test_a_repetition_is_answered_when_the_history_is_gone(self) -> None:
        """That it was done is told, and what it changed no longer."""
        async with serving(sources=sources(default={"a": 1})) as services:
            engine = services.engine
            first = await services.update(b'{"a": 2}', request_id="r")
            keep = Limits(1, engine.clock.now() - engine.clock.now())
            await Retention(engine.documents, engine.store, engine.clock, keep).sweep()
            again = await services.update(b'{"a": 2}', request_id="r")
            assert (again.version, again.changed, again.patch) == (first.version, True, b"[]")

    async def test_a_write_whose_answer_was_lost_is_repeated_safely(self) -> None:
        """The store may fail after it has written: the repetition learns that it was done."""
        store = LosingStore()
        async with serving(store, sources(default={"a": 1})) as services:
            store.is_losing = True
            request = pb.UpdateConfigRequest(merge_patch=b'{"a": 2}', request_id="r", expected_version=1)
            assert await reason_of(services, "UpdateConfig", request) == "STORE_UNAVAILABLE"
            store.is_losing = False
            again = await services.ask("UpdateConfig", request)
            assert (again.version, again.changed) == (2, True)
            assert services.engine.configs.get("default").version.number == 2


class LosingStore(MemoryStore):
    """A store whose answers can get lost: it writes, and then can't be reached any more."""

    is_losing = False

    async def commit(self, commit: Commit) -> int:
        """Commit, and perhaps not tell."""
        revision = await super().commit(commit)
        self._fail_if_losing()
        return revision

    async def read(self, prefix: str, **options: Any) -> Any:
        """Read, or fail."""
        self._fail_if_losing()
        return await super().read(prefix, **options)

    def _fail_if_losing(self) -> None:
        if self.is_losing:
            raise StoreUnavailable("it was unplugged")
