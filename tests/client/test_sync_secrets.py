"""Handles of secrets for threads, and those of the fake clients."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from client.conftest import POLICY
from client.daemon_process import daemon_process, environment
from client.waiting import eventually_here
from vestry import (
    Client,
    ClientClosed,
    FailedPrecondition,
    Invalid,
    NotFound,
    SecretHandle,
    SecretNotText,
    Unimplemented,
    VersionMismatch,
)
from vestry.testing import AsyncFakeClient, FakeClient
from vestry.v1 import secrets_pb2


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    """A client of a daemon with the secret `db-password`."""
    with daemon_process(target), Client(target, timeout=5.0, reconnect=POLICY) as client:
        yield client


def test_it_has_the_shape_of_the_asynchronous_one(client: Client) -> None:
    """Reveals, writes, facts and errors are those of AsyncClient, without await."""
    handle = client.secrets["db-password"]
    assert handle is client.secrets_in("default")["db-password"]
    assert (handle.reveal(), handle.reveal_text(), handle.reveal(version=1)) == (b"one", "one", b"one")
    assert handle.put(b"two").version == 2
    assert handle.reveal() == b"two"
    assert handle.rotate(b"three").version == 3
    assert handle.metadata().current_version == 3
    assert [version.version for version in handle.versions(page_size=2)] == [3, 2, 1]
    assert repr(handle) == "<SecretHandle 'db-password' in 'default'>"
    with pytest.raises(NotFound):
        client.secrets["other"].reveal()
    with pytest.raises(Invalid):
        client.secrets["a/b"]


def test_a_callback_may_reveal(client: Client) -> None:
    """A callback runs on a thread of its own, so it can use the handle as any thread can."""
    handle = client.secrets["db-password"]
    handle.reveal()
    heard: list[tuple[str, bytes, int]] = []

    def reconnect(rotated: SecretHandle) -> None:
        heard.append((threading.current_thread().name, rotated.reveal(), rotated.version))

    subscription = handle.on_rotate(reconnect)
    eventually_here(lambda: handle.is_live)
    handle.rotate(b"two")
    eventually_here(lambda: heard == [("vestry-callback", b"two", 2)])
    subscription.cancel()
    handle.rotate(b"three")
    eventually_here(lambda: handle.version == 3)
    assert len(heard) == 1


def test_a_callback_may_close_the_client(client: Client) -> None:
    """Whoever gives up at a rotation can, and nothing hangs."""
    handle = client.secrets["db-password"]
    handle.reveal()
    eventually_here(lambda: handle.is_live)
    closed = threading.Event()

    def give_up(_: SecretHandle) -> None:
        client.close()
        closed.set()

    handle.on_rotate(give_up)
    handle.rotate(b"two")
    assert closed.wait(5)
    with pytest.raises(ClientClosed):
        handle.reveal()


_FORK = """
import os, sys, vestry

client = vestry.Client(sys.argv[1], timeout=5.0)
handle = client.secrets["db-password"]
handle.reveal()
child = os.fork()
if child == 0:
    try:
        handle.reveal()
    except vestry.ForkedProcess:
        sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), handle.reveal())
client.close()
"""


def test_a_child_gets_no_values(target: str) -> None:
    """After a fork the child has neither a connection nor the parent's kept values."""
    with daemon_process(target):
        command = [sys.executable, "-c", _FORK, target]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment())
    assert (ended.returncode, ended.stdout) == (0, "7 b'one'\n"), ended.stderr


def test_a_fake_client_has_secrets() -> None:
    """A test gives values, and rotates them at once."""
    client = FakeClient({}, secrets={"default": {"a": b"one"}, "billing": {"key": b"\xff"}})
    handle = client.secrets["a"]
    heard: list[bytes] = []
    handle.on_rotate(lambda rotated: heard.append(rotated.reveal()))
    assert client.rotate_secret("a", b"two") == 2
    assert heard == [b"two"] == [handle.reveal()]
    assert handle.reveal(label="previous") == handle.reveal(version=1) == b"one"
    with pytest.raises(SecretNotText):
        client.secrets_in("billing")["key"].reveal_text()
    with pytest.raises(NotFound):
        client.secrets["b"].reveal()
    with pytest.raises(NotFound):
        handle.reveal(version=7)
    client.close()
    with pytest.raises(ClientClosed):
        handle.reveal()


def test_a_fake_client_takes_writes() -> None:
    """Writes make versions; a pending one waits, and is promoted or abandoned; values are never made up."""
    client = FakeClient({})
    handle = client.secrets["a"]
    assert handle.put(b"one").version == 1
    with pytest.raises(VersionMismatch):
        handle.put(b"two", expected_version=0)
    with pytest.raises(FailedPrecondition):
        handle.rotate(step=secrets_pb2.ROTATION_STEP_PROMOTE)
    assert handle.rotate(b"two", step=secrets_pb2.ROTATION_STEP_PENDING).version == 2
    assert (handle.reveal(), handle.reveal(label="pending")) == (b"one", b"two")
    assert handle.rotate(step=secrets_pb2.ROTATION_STEP_PROMOTE).version == 2
    assert handle.reveal() == b"two"
    handle.rotate(b"three", step=secrets_pb2.ROTATION_STEP_PENDING)
    assert handle.rotate(step=secrets_pb2.ROTATION_STEP_ABANDON).version == 3
    with pytest.raises(FailedPrecondition):
        handle.reveal(label="pending")
    assert handle.rotate(b"four").version == 4
    assert handle.metadata().current_version == 4
    assert [version.version for version in handle.versions()] == [4, 3, 2, 1]
    with pytest.raises(Unimplemented):
        handle.rotate()


async def test_an_asynchronous_fake_client_has_secrets() -> None:
    """The same for asyncio."""
    async with AsyncFakeClient({}, secrets={"default": {"a": b"one"}}) as client:
        handle = client.secrets["a"]
        heard: list[int] = []
        handle.on_rotate(lambda rotated: heard.append(rotated.version))
        client.rotate_secret("a", b"two")
        assert (heard, await handle.reveal_text()) == ([2], "two")
