from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from services.daemon import KEY, Refused, Services
from services.secret_calls import CANARY, keeping, put
from vestry.v1 import common_pb2 as common
from vestry.v1 import secrets_pb2 as pb
from vestryd.domain.store import Commit
from vestryd.stores.memory import MemoryStore

PERIOD = pb.SecretSettings(rotation=pb.RotationPolicy(period=Duration(seconds=3600)))


def watch(services: Services, token: str = "", *namespaces: str) -> AsyncGenerator[Any, None]:
    """Watch secrets."""
    return services.stream("WatchSecrets", pb.WatchSecretsRequest(namespaces=namespaces, resume_token=token))


async def until_bookmark(stream: AsyncGenerator[Any, None]) -> list[Any]:
    """Return the messages up to a bookmark, which is the last."""
    found = [await anext(stream)]
    while not found[-1].HasField("bookmark"):
        found.append(await anext(stream))
    return found


def told(messages: list[Any]) -> list[tuple[str, int]]:
    """Return (name, what happened) of the changes."""
    return [(one.change.secret.name, one.change.event) for one in messages if one.HasField("change")]


async def seal(services: Services) -> None:
    """Seal the secrets."""
    await services.kept.vault.seal(services.callers.caller)


class TestAWatch:
    """From its beginning on."""

    async def test_the_state_comes_first_and_then_every_change(self) -> None:
        """Each with what is known of the secret now, and never with a value."""
        async with keeping() as services:
            await put(services, "b")
            await put(services, "a")
            await put(services, "gone")
            await services.ask("DeleteSecret", pb.DeleteSecretRequest(name="gone"))
            stream = watch(services)
            state, bookmark = await until_bookmark(stream)
            assert (state.state.namespace, [one.name for one in state.state.secrets]) == ("default", ["a", "b"])
            assert (state.resume_token, bool(bookmark.resume_token)) == ("", True)
            changes: list[tuple[str, Any, int]] = [
                ("PutSecret", pb.PutSecretRequest(name="a", value=CANARY), pb.SECRET_EVENT_CURRENT_CHANGED),
                (
                    "RotateSecret",
                    pb.RotateSecretRequest(name="a", value=CANARY, step=pb.ROTATION_STEP_PENDING),
                    pb.SECRET_EVENT_PENDING_CHANGED,
                ),
                (
                    "UpdateSecret",
                    pb.UpdateSecretRequest(name="a", settings=pb.SecretSettings(description="x")),
                    pb.SECRET_EVENT_UNSPECIFIED,
                ),
                (
                    "DestroySecretVersion",
                    pb.DestroySecretVersionRequest(name="a", version=1),
                    pb.SECRET_EVENT_VERSION_DESTROYED,
                ),
                ("DeleteSecret", pb.DeleteSecretRequest(name="a"), pb.SECRET_EVENT_DELETED),
                ("UndeleteSecret", pb.UndeleteSecretRequest(name="a"), pb.SECRET_EVENT_UNDELETED),
            ]
            for method, request, event in changes:
                answer = await services.ask(method, request)
                message = await anext(stream)
                assert (message.change.event, message.change.secret) == (event, answer.secret)
                assert message.resume_token
                assert CANARY not in message.SerializeToString()
            await stream.aclose()

    async def test_a_namespace_need_not_be_there_yet(self) -> None:
        """Its first secret is heard of; and who goes away before leaves nothing behind."""
        async with keeping() as services:
            stream = watch(services, "", "future", "other")
            assert [len(one.state.secrets) for one in await until_bookmark(stream)] == [0, 0, 0]
            await put(services, "first", namespace="future")
            assert (await anext(stream)).change.secret.namespace == "future"
            await stream.aclose()
            assert list(services.kept.feed._topics) == ["future"]

    async def test_what_a_namespace_has_is_encoded_once(self) -> None:
        """Until something changes there."""
        async with keeping() as services:
            await put(services)
            source = services.kept.feed.source
            first = source.state("default")
            assert source.state("default") is first
            await put(services, "x", namespace="other")
            assert source.state("default") is first
            await put(services)
            assert source.state("default") is not first

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"namespaces": ["-"]}, "INVALID_FIELD"),
            ({"namespaces": ["default"] * 101}, "INVALID_FIELD"),
            ({"resume_token": "garbage"}, "RESUME_TOKEN_INVALID"),
            ({"resume_token": base64.urlsafe_b64encode(bytes(24)).decode()}, "RESUME_TOKEN_FOREIGN"),
        ],
    )
    async def test_bad_watches_are_refused(self, fields: dict[str, Any], reason: str) -> None:
        """Before the first message, and nobody is counted."""
        async with keeping() as services:
            with pytest.raises(Refused, match=reason):
                await anext(services.stream("WatchSecrets", pb.WatchSecretsRequest(**fields)))
            assert services.kept.feed.watchers == 0

    async def test_the_end_of_the_daemon_is_told(self) -> None:
        """With a token to go on from."""
        async with keeping() as services:
            stream = watch(services)
            await until_bookmark(stream)
            services.kept.feed.close()
            end = await anext(stream)
            assert (end.end.reason, bool(end.resume_token)) == (common.WATCH_END_REASON_SHUTTING_DOWN, True)
            with pytest.raises(Refused, match="SHUTTING_DOWN"):
                await anext(stream)


class TestResuming:
    """Going on."""

    async def test_a_reader_gets_what_it_missed(self) -> None:
        """Change by change, while they are at hand."""
        async with keeping() as services:
            await put(services, "a")
            token = services.kept.feed.token(services.kept.feed.revision)
            await put(services, "b")
            await put(services, "c")
            found = await until_bookmark(watch(services, token))
            assert [name for name, _ in told(found)] == ["b", "c"]

    async def test_after_a_restart_it_gets_the_state(self) -> None:
        """If anything may have happened; the daemon doesn't keep what."""
        store = MemoryStore()
        async with keeping(store=store) as services:
            before = services.kept.feed.token(services.kept.feed.revision)
            await put(services, "a")
        async with keeping(store=store) as services:
            state, _ = await until_bookmark(watch(services, before))
            assert [one.name for one in state.state.secrets] == ["a"]
            now = services.kept.feed.token(services.kept.feed.revision)
            assert len(await until_bookmark(watch(services, now))) == 1

    async def test_a_rotation_that_fell_due_is_heard_of_after_what_was_missed(self) -> None:
        """It has no revision of its own: who was away is told in any case, last."""
        async with keeping() as services:
            await put(services, "a", settings=PERIOD)
            token = services.kept.feed.token(services.kept.feed.revision)
            await put(services, "a")
            services.engine.clock.advance(hours=2)
            await services.kept.secrets._rotations.sweep()
            found = await until_bookmark(watch(services, token))
            assert told(found)[0] == ("a", pb.SECRET_EVENT_CURRENT_CHANGED)
            assert told(found)[-1] == ("a", pb.SECRET_EVENT_ROTATION_DUE)
            assert [one.change.secret.current_version for one in found[:-1]] == [2] * (len(found) - 1)


class TestRotations:
    """What the time does."""

    async def test_a_rotation_that_falls_due_is_told_and_told_again_when_it_is_overdue(self) -> None:
        """To who watches; a new reader sees it in the state."""
        async with keeping() as services:
            await put(services, settings=PERIOD)
            stream = watch(services)
            await until_bookmark(stream)
            for state in (pb.ROTATION_STATE_DUE, pb.ROTATION_STATE_OVERDUE):
                services.engine.clock.advance(hours=1)
                await services.kept.secrets._rotations.sweep()
                message = await anext(stream)
                assert message.change.event == pb.SECRET_EVENT_ROTATION_DUE
                assert message.change.secret.rotation_state == state
            await stream.aclose()
            state, _ = await until_bookmark(watch(services))
            assert state.state.secrets[0].rotation_state == pb.ROTATION_STATE_OVERDUE


class TestSealing:
    """Watches of what nobody can read."""

    async def test_sealing_ends_the_watches(self) -> None:
        """With the reason; and a new one is refused for the same, whatever token it brings."""
        async with keeping() as services:
            await put(services)
            stream, other = watch(services), watch(services, "", "other")
            for one in (stream, other):
                await until_bookmark(one)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            await seal(services)
            for coming in (waiting, anext(other), anext(watch(services)), anext(watch(services, "garbage"))):
                with pytest.raises(Refused) as caught:
                    await coming
                assert caught.value.reason == "SEALED"
                assert "somebody sealed them" in caught.value.message
            assert services.kept.feed.watchers == 0

    async def test_after_unsealing_watches_work_again(self) -> None:
        """A reader that resumes gets the state: nobody here has followed what others wrote meanwhile."""
        async with keeping() as services:
            await put(services, "a")
            token = services.kept.feed.token(services.kept.feed.revision)
            await seal(services)
            await services.engine.store.commit(Commit(puts={"somebody": b"else"}))
            await services.kept.vault.unseal(services.callers.caller, [KEY])
            await put(services, "b")
            state, _ = await until_bookmark(watch(services, token))
            assert [one.name for one in state.state.secrets] == ["a", "b"]
            stream = watch(services)
            await until_bookmark(stream)
            await put(services, "c")
            assert told([await anext(stream)]) == [("c", pb.SECRET_EVENT_CURRENT_CHANGED)]
            await stream.aclose()

    async def test_a_watch_that_is_sealed_before_its_first_message_says_so(self) -> None:
        """It was begun, and not read yet."""
        async with keeping() as services:
            messages = services.kept.feed.watch(["default"], "")
            await seal(services)
            with pytest.raises(Exception, match="sealed"):
                await anext(messages)
