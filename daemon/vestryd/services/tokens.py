"""TokenService: the wire's meaning of bearer tokens."""

from __future__ import annotations

from itertools import islice

from vestry.v1 import tokens_pb2 as pb
from vestryd.domain.jsonvalue import checksum
from vestryd.domain.tokens.new import DEFAULT_TTL, NewToken
from vestryd.domain.tokens.records import Token
from vestryd.domain.tokens.tokens import Tokens
from vestryd.services.call import Call
from vestryd.services.common_messages import timestamp
from vestryd.services.common_requests import span
from vestryd.services.paging import page_size, page_token, position_of, time_at, time_position


class TokenService:
    """Answers TokenService. Lives as long as the daemon serves."""

    service = "vestry.v1.TokenService"

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def create_token(self, request: pb.CreateTokenRequest, call: Call) -> pb.CreateTokenResponse:
        """Make a token; only this answer ever holds it."""
        wanted = NewToken(
            user=request.user,
            groups=tuple(request.groups),
            ttl=span("ttl", request.ttl) if request.HasField("ttl") else DEFAULT_TTL,
            once=request.once,
            description=request.description,
        )
        text, token = await self._tokens.create(call.caller, wanted, call_id=call.request_id)
        call.facts.update(token_id=token.token_id)
        return pb.CreateTokenResponse(token=text, metadata=self._message(token))

    def list_tokens(self, request: pb.ListTokensRequest, _call: Call) -> pb.ListTokensResponse:
        """List tokens, newest first."""
        scope = f"tokens/{checksum(request.user.encode())[:16]}"
        position = position_of(scope, request.page_token)
        size = page_size(request.page_size)
        found = self._tokens.all(user=request.user, before=time_at(position) if position else None)
        page = list(islice(found, size + 1))
        more = len(page) > size
        return pb.ListTokensResponse(
            tokens=[self._message(one) for one in page[:size]],
            next_page_token=page_token(scope, _position(page[size - 1])) if more else "",
        )

    async def revoke_token(self, request: pb.RevokeTokenRequest, call: Call) -> pb.RevokeTokenResponse:
        """End a token."""
        token = await self._tokens.revoke(call.caller, request.token_id, call_id=call.request_id)
        call.facts.update(token_id=token.token_id)
        return pb.RevokeTokenResponse(metadata=self._message(token))

    def _message(self, token: Token) -> pb.Token:
        """Return what the wire tells of a token."""
        return pb.Token(
            token_id=token.token_id,
            user=token.user,
            groups=token.groups,
            description=token.description,
            creator=token.creator,
            create_time=timestamp(token.create_time),
            expire_time=timestamp(token.expire_time),
            last_use_time=timestamp(token.last_use_time) if token.last_use_time else None,
            once=token.once,
            state=pb.TokenState.ValueType(self._tokens.state(token)),
        )


def _position(token: Token) -> str:
    return time_position(token.create_time, token.token_id)
