"""The door of the pipeline: who calls, whether they may, and what becomes of streams when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest

from callers import Door, KnownCallers, user
from services.test_pipeline import REQUEST, begun, plain
from vestry.v1 import common_pb2, config_pb2
from vestryd.domain.errors import CredentialsInvalid
from vestryd.domain.identity import Caller, anonymous
from vestryd.services.call import Call, Peer
from vestryd.services.methods import Kind
from vestryd.services.pipeline import CallFailed

RESOURCE = "namespaces/billing/config"


class LateCallers(KnownCallers):
    """Knows a caller only after a wait, as one with a token for one call."""

    def identify(self, peer: Peer, metadata: Mapping[str, str | bytes]) -> Any:
        async def late() -> Caller:
            await asyncio.sleep(0)
            if metadata.get("used-up"):
                raise CredentialsInvalid("it was used up")
            return user("once")

        return late()


async def endless(_request: Any, _call: Call) -> AsyncIterator[config_pb2.WatchConfigResponse]:
    """Send one message, and then nothing for ever."""
    yield config_pb2.WatchConfigResponse(bookmark=common_pb2.Bookmark())
    await asyncio.Event().wait()


async def test_the_action_is_checked_on_the_resource_before_the_handler_runs() -> None:
    """And what is refused never reaches it."""
    door = Door()
    calls: list[Call] = []

    def handler(request: Any, call: Call) -> Any:
        calls.append(call)
        return plain(request, call)

    assert (await begun(handler, door=door).reply()).failure is None
    assert door.asked == [("user:tester", "config.read", RESOURCE)]
    door.closed.add(("config.read", RESOURCE))
    reply = await begun(handler, door=door).reply()
    assert reply.failure
    assert reply.failure.reason == "PERMISSION_DENIED"
    assert len(calls) == 1


async def test_a_caller_without_credentials_learns_nothing_of_its_request() -> None:
    """Not even that it is malformed, nor what a policy says."""
    door = Door()
    reply = await begun(plain, callers=KnownCallers(anonymous()), door=door).reply(b"\xff\xff")
    assert reply.failure
    assert reply.failure.reason == "CREDENTIALS_MISSING"
    assert door.asked == []


async def test_bad_credentials_are_refused() -> None:
    """They don't count as none."""
    callers = KnownCallers(is_ended=True)
    reply = await begun(plain, callers=callers).reply()
    assert reply.failure
    assert reply.failure.reason == "CREDENTIALS_INVALID"


async def test_a_caller_may_be_known_after_a_wait() -> None:
    """A plain handler then answers after it, and a refusal is one still."""
    line = begun(plain, callers=LateCallers())
    assert (await line.reply()).failure is None
    assert line.call.caller.name == "user:once"
    refused = begun(plain, callers=LateCallers(), used_up="yes")
    reply = await refused.reply()
    assert reply.failure
    assert (reply.failure.reason, refused.counts) == ("CREDENTIALS_INVALID", (1, 1, 0))


@pytest.mark.parametrize("loss", ["permission", "credentials"])
async def test_a_stream_ends_when_its_caller_loses_the_right_to_it(loss: str) -> None:
    """With a last message and a status that say what was lost, at once when somebody says that things changed."""
    callers, door = KnownCallers(), Door()
    line = begun(endless, kind=Kind.STREAM, callers=callers, door=door)
    line.route.method = _watch(line.route.method)
    watching = asyncio.create_task(line.pipeline.live.run())
    async with aclosing(line.pipeline.stream(line.route, REQUEST, line.call)) as bodies:
        await anext(bodies)
        door.closed |= {("config.read", RESOURCE)} if loss == "permission" else set()
        callers.is_ended = loss == "credentials"
        line.pipeline.live.changed()
        last = config_pb2.WatchConfigResponse.FromString(await anext(bodies))
        with pytest.raises(CallFailed) as caught:
            await anext(bodies)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    reasons = {
        "permission": (common_pb2.WATCH_END_REASON_PERMISSION_LOST, "PERMISSION_DENIED"),
        "credentials": (common_pb2.WATCH_END_REASON_CREDENTIALS_ENDED, "CREDENTIALS_INVALID"),
    }
    assert (last.end.reason, caught.value.failure.reason) == reasons[loss]
    assert line.counts == (1, 1, 0)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_a_stream_whose_caller_keeps_its_right_goes_on() -> None:
    """However often that is looked at."""
    line = begun(endless, kind=Kind.STREAM)
    line.route.method = _watch(line.route.method)
    watching = asyncio.create_task(line.pipeline.live.run())
    stream = line.pipeline.stream(line.route, REQUEST, line.call)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    for _ in range(3):
        line.pipeline.live.changed()
        await asyncio.sleep(0)
    assert not waiting.done()
    for task in (waiting, watching):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await stream.aclose()


def _watch(method: Any) -> Any:
    """Return the method as one that answers with the messages of a watch."""
    return replace(method, response=config_pb2.WatchConfigResponse)
