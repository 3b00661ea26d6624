from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from inspect import isawaitable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from callers import Door, KnownCallers
from domain.tokens.desk import Desk, desk
from services.daemon import Refused
from vestry.v1 import tokens_pb2 as pb
from vestryd.services.call import Peer
from vestryd.services.methods import table
from vestryd.services.paging import page_token
from vestryd.services.pipeline import Pipeline, bind
from vestryd.services.tokens import TokenService


@dataclass
class Service:
    """TokenService over tokens in memory, behind a pipeline."""

    desk: Desk
    pipeline: Pipeline
    door: Door

    async def ask(self, method: str, request: Message) -> Any:
        """Call a method; raise Refused when it fails."""
        route = self.pipeline.routes[f"/vestry.v1.TokenService/{method}"]
        call = self.pipeline.begin(route, peer=Peer(), metadata={"x-request-id": "r-1"}, timeout_seconds=None)
        answer = self.pipeline.unary(route, request.SerializeToString(), call)
        reply = await answer if isawaitable(answer) else answer
        if reply.failure:
            raise Refused(reply.failure)
        return route.method.response.FromString(reply.body)

    async def reason(self, method: str, request: Message) -> str:
        """Return the reason for which a call is refused."""
        with pytest.raises(Refused) as caught:
            await self.ask(method, request)
        return caught.value.reason


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    """Serve."""
    async with desk() as one:
        door = Door()
        methods = {path: each for path, each in table().items() if each.service == TokenService.service}
        routes = bind(methods, [TokenService(one.tokens)])
        pipeline = Pipeline(routes, authenticator=KnownCallers(), guard=door, default_deadline_seconds=10)
        yield Service(one, pipeline, door)


async def test_a_token_is_made_and_told_once() -> None:
    """The answer holds it and what is known of it; the list only that."""
    async with serving() as service:
        request = pb.CreateTokenRequest(
            user="alice", groups=["ops"], ttl=Duration(seconds=60), once=True, description="for the nightly job"
        )
        made = await service.ask("CreateToken", request)
        listed = await service.ask("ListTokens", pb.ListTokensRequest())
        now = service.desk.clock.now()
        (record,) = await service.desk.audit.read(after=0, limit=9)
    token = made.metadata
    assert listed.tokens == [token]
    assert made.token.startswith(f"vestry_{token.token_id}_")
    assert (token.user, list(token.groups), token.description) == ("alice", ["ops"], "for the nightly job")
    assert (token.creator, token.once, token.state) == ("user:tester", True, pb.TOKEN_STATE_ACTIVE)
    assert token.create_time.ToDatetime(UTC) == now
    assert token.expire_time.ToDatetime(UTC) == now + timedelta(seconds=60)
    assert not token.HasField("last_use_time")
    assert (record.actor, record.request_id) == ("user:tester", "r-1")


async def test_it_is_good_for_thirty_days_unless_something_else_is_said() -> None:
    """An absent ttl is the default; one of zero is refused."""
    async with serving() as service:
        made = await service.ask("CreateToken", pb.CreateTokenRequest(user="alice"))
        span = made.metadata.expire_time.ToDatetime() - made.metadata.create_time.ToDatetime()
        assert span == timedelta(days=30)
        for ttl in (Duration(), Duration(seconds=2**60), Duration(nanos=-1)):
            assert await service.reason("CreateToken", pb.CreateTokenRequest(user="a", ttl=ttl)) == "INVALID_FIELD"


async def test_the_door_is_that_of_the_user_and_of_each_group() -> None:
    """Who may make tokens for alice may not put them in any group."""
    async with serving() as service:
        await service.ask("CreateToken", pb.CreateTokenRequest(user="alice", groups=["dev", "ops"]))
        asked = [(action, resource) for _, action, resource in service.door.asked]
        assert asked == [
            ("tokens.create", resource) for resource in ("users/alice/tokens", "groups/dev/tokens", "groups/ops/tokens")
        ]
        service.door.closed.add(("tokens.create", "groups/ops/tokens"))
        request = pb.CreateTokenRequest(user="alice", groups=["dev", "ops"])
        assert await service.reason("CreateToken", request) == "PERMISSION_DENIED"


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
async def test_pages_hold_each_token_once(size: int) -> None:
    """Newest first, whatever is made meanwhile."""
    async with serving() as service:
        made = []
        for _ in range(5):
            made.append((await service.desk.make("alice"))[1].token_id)
            service.desk.clock.advance(seconds=1)
        request = pb.ListTokensRequest(user="alice", page_size=size)
        found: list[str] = []
        while True:
            page = await service.ask("ListTokens", request)
            found += [one.token_id for one in page.tokens]
            await service.desk.make("alice")
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        assert found == made[::-1]


async def test_a_page_token_is_of_its_list() -> None:
    """One of another user's list, and whatever else was made up, is refused."""
    async with serving() as service:
        for _ in range(2):
            await service.desk.make("alice")
        page = await service.ask("ListTokens", pb.ListTokensRequest(user="alice", page_size=1))
        scope = "tokens/" + "0" * 16
        for token in (page.next_page_token, "garbage", page_token(scope, "x")):
            assert await service.reason("ListTokens", pb.ListTokensRequest(page_token=token)) == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("position", ["soon 0", "2026-01-01T00:00:00 0"])
async def test_a_page_token_that_was_made_up_is_refused(position: str) -> None:
    """Also when it is of the right list."""
    async with serving() as service:
        for _ in range(2):
            await service.desk.make("alice")
        page = await service.ask("ListTokens", pb.ListTokensRequest(page_size=1))
        scope = urlsafe_b64decode(page.next_page_token).decode().partition("\n")[0]
        request = pb.ListTokensRequest(page_token=page_token(scope, position))
        assert await service.reason("ListTokens", request) == "PAGE_TOKEN_INVALID"


async def test_a_token_is_revoked_by_its_id_or_by_itself() -> None:
    """It is told as revoked; once more changes nothing; what isn't there is not found."""
    async with serving() as service:
        text, token = await service.desk.make()
        for which in (token.token_id, text):
            answer = await service.ask("RevokeToken", pb.RevokeTokenRequest(token_id=which))
            assert answer.metadata.state == pb.TOKEN_STATE_REVOKED
        assert await service.reason("RevokeToken", pb.RevokeTokenRequest(token_id="0" * 16)) == "TOKEN_NOT_FOUND"
        assert await service.reason("RevokeToken", pb.RevokeTokenRequest(token_id=text[:-1])) == "INVALID_FIELD"
