"""What the tests of the client share: a fake daemon on a socket, and patience measured in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.fake_daemon import FakeDaemon
from vestry import AsyncClient, ReconnectPolicy

POLICY = ReconnectPolicy(
    initial_seconds=0.02, max_seconds=0.1, silence_seconds=5.0, refusal_seconds=0.1, draw=lambda: 0.5
)


@pytest.fixture
def target(tmp_path: Path) -> str:
    """An address where nothing listens yet."""
    return f"unix:{tmp_path}/v.sock"


@pytest.fixture
async def daemon(target: str) -> AsyncIterator[FakeDaemon]:
    """A daemon that serves `default` and `billing`."""
    daemon = FakeDaemon(target)
    daemon.set("default", {"server": {"port": 80}, "name": "a"})
    daemon.set("billing", {"currency": "EUR"})
    await daemon.start()
    yield daemon
    daemon.wake()
    await daemon.kill()


@pytest.fixture
async def client(daemon: FakeDaemon) -> AsyncIterator[AsyncClient]:
    """A client of `daemon` that reconnects fast."""
    async with AsyncClient(daemon.target, timeout=5.0, reconnect=POLICY) as client:
        yield client
