"""Calls about secrets, for tests of the services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.daemon import KEY, Refused, Services, serving
from vestry.v1 import secrets_pb2 as pb

CANARY = b"canary-4711-of-the-tests"  # a value that may be nowhere but in an answer


@asynccontextmanager
async def keeping(**options: Any) -> AsyncIterator[Services]:
    """Serve with secrets that are open."""
    async with serving(materials=[KEY], **options) as services:
        yield services


async def put(services: Services, name: str = "key", value: bytes = CANARY, **fields: Any) -> pb.PutSecretResponse:
    """Write a value."""
    answer: pb.PutSecretResponse = await services.ask(
        "PutSecret", pb.PutSecretRequest(name=name, value=value, **fields)
    )
    return answer


async def value_of(services: Services, name: str = "key", **fields: Any) -> bytes:
    """Read a value."""
    answer: pb.AccessSecretResponse = await services.ask("AccessSecret", pb.AccessSecretRequest(name=name, **fields))
    return answer.value


async def refusal(services: Services, method: str, request: Any) -> Refused:
    """Return how a call is refused."""
    try:
        await services.ask(method, request)
    except Refused as refused:
        return refused
    raise AssertionError(f"{method} was not refused")
