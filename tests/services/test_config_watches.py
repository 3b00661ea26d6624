from __future__ import annotations

import base64
from typing import Any

import pytest

from services.daemon import Refused, serving, sources
from vestry.v1 import config_pb2 as pb
from vestryd.stores.memory import MemoryStore


class TestWatchConfig:
    """Watching, over the real feed."""

    async def test_changes_and_rejections_come_as_messages(self) -> None:
        """The state, a bookmark, a change, a rejection, and its end."""
        files = sources(default={"n": 1})
        async with serving(sources=files) as services:
            stream = services.stream("WatchConfig", pb.WatchConfigRequest())
            state, bookmark = await anext(stream), await anext(stream)
            assert (state.update.version, state.update.document, state.resume_token) == (1, b'{"n":1}', "")
            assert bookmark.HasField("bookmark")
            await services.update(b'{"n": 2}', message="why")
            change = await anext(stream)
            assert (change.update.version, change.update.author, change.update.message) == (2, "user:tester", "why")
            files.write("default", default=b"{")
            await services.engine.ingestion.reload()
            rejected = await anext(stream)
            assert (rejected.rejected.version, len(rejected.rejected.rejection.violations)) == (2, 1)
            files.write("default", default={"n": 1})
            await services.engine.ingestion.reload()
            mended = await anext(stream)
            assert mended.HasField("rejected")
            assert not mended.rejected.HasField("rejection")
            await stream.aclose()

    @pytest.mark.parametrize("is_mended", [False, True])
    async def test_a_reader_that_resumes_hears_how_the_files_stand(self, is_mended: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """It may have been told otherwise before; mending by reverting makes no version that would tell."""
        files = sources(default={"n": 1})
        async with serving(sources=files) as services:
            files.write("default", default=b"{")
            await services.engine.ingestion.reload()
            token = services.feed.token(services.feed.revision)
            if is_mended:
                files.write("default", default={"n": 1})
                await services.engine.ingestion.reload()
            stream = services.stream("WatchConfig", pb.WatchConfigRequest(resume_token=token))
            assert (await anext(stream)).rejected.HasField("rejection") is not is_mended
            assert (await anext(stream)).HasField("bookmark")
            await stream.aclose()

    async def test_a_new_feed_tells_what_was_missed_from_the_store(self) -> None:
        """A reader that resumes after a restart gets each version that it lacks."""
        store = MemoryStore()
        async with serving(store, sources(default={"n": 1})) as services:
            token = services.feed.token(services.feed.revision)
            for number in (2, 3, 4):
                await services.update(b'{"n": %d}' % number)
        async with serving(store, sources(default={"n": 1})) as services:
            stream = services.stream("WatchConfig", pb.WatchConfigRequest(resume_token=token))
            found = [await anext(stream) for _ in range(3)]
            assert [one.update.document for one in found] == [b'{"n":2}', b'{"n":3}', b'{"n":4}']
            await stream.aclose()

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"namespaces": ["default", "nowhere"]}, "DOCUMENT_NOT_FOUND"),
            ({"namespaces": ["-"]}, "INVALID_FIELD"),
            ({"namespaces": ["default"] * 101}, "INVALID_FIELD"),
            ({"resume_token": "garbage"}, "RESUME_TOKEN_INVALID"),
            ({"resume_token": base64.urlsafe_b64encode(bytes(24)).decode()}, "RESUME_TOKEN_FOREIGN"),
        ],
    )
    async def test_bad_watches_are_refused_before_the_first_message(self, fields: dict[str, Any], reason: str) -> None:
        """Each with its reason, and nobody is counted."""
        async with serving(sources=sources(default={"n": 1})) as services:
            with pytest.raises(Refused) as caught:
                await anext(services.stream("WatchConfig", pb.WatchConfigRequest(**fields)))
            assert caught.value.reason == reason
            assert services.feed.watchers == 0
