"""TokenService in memory."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ctl.fake_config import Context
from ctl.fake_errors import abort
from vestry.v1 import tokens_pb2, tokens_pb2_grpc


@dataclass
class FakeTokens(tokens_pb2_grpc.TokenServiceServicer):
    """Keeps tokens, and what was asked of it; `page` are on a page of the list."""

    asked: list[tokens_pb2.CreateTokenRequest] = field(default_factory=list)
    tokens: list[tokens_pb2.Token] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)  # what came with each call
    page: int = 2

    def CreateToken(self, request: tokens_pb2.CreateTokenRequest, context: Context) -> tokens_pb2.CreateTokenResponse:
        """Make a token."""
        self._note(context)
        self.asked.append(request)
        token = tokens_pb2.Token(
            token_id=f"{len(self.tokens) + 1:016x}",
            user=request.user,
            groups=request.groups,
            creator="user:root",
            expire_time=Timestamp(seconds=1_800_000_000),
            once=request.once,
            state=tokens_pb2.TOKEN_STATE_ACTIVE,
            description=request.description,
        )
        self.tokens.insert(0, token)
        return tokens_pb2.CreateTokenResponse(token=f"vestry_{token.token_id}_hush", metadata=token)

    def ListTokens(self, request: tokens_pb2.ListTokensRequest, context: Context) -> tokens_pb2.ListTokensResponse:
        """List a page."""
        self._note(context)
        found = [one for one in self.tokens if request.user in {"", one.user}]
        start = int(request.page_token or "0")
        following = str(start + self.page) if start + self.page < len(found) else ""
        return tokens_pb2.ListTokensResponse(tokens=found[start : start + self.page], next_page_token=following)

    def RevokeToken(self, request: tokens_pb2.RevokeTokenRequest, context: Context) -> tokens_pb2.RevokeTokenResponse:
        """End a token."""
        token = next((one for one in self.tokens if one.token_id == request.token_id), None)
        if token is None:
            abort(context, grpc.StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND", f"there is no token {request.token_id!r}")
        token.state = tokens_pb2.TOKEN_STATE_REVOKED
        return tokens_pb2.RevokeTokenResponse(metadata=token)

    def _note(self, context: Context) -> None:
        self.credentials.append(str(dict(context.invocation_metadata()).get("authorization", "")))
