from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine import FakeClock
from vestryd.domain.errors import AddressUnusable
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Via
from vestryd.domain.tokens.local import LocalTokens
from vestryd.transports import auth_socket
from vestryd.transports.aio import UnixSocket
from vestryd.transports.auth_socket import MAX_CONNECTIONS, AuthSocket

PATIENCE_SECONDS = 10.0
ME = pwd.getpwuid(os.geteuid()).pw_name

# Becomes somebody else, if so told, and prints what the socket says.
CLIENT = """
import os, socket, sys
path, uid, gid, *groups = sys.argv[1:]
os.setgroups([int(one) for one in groups])
os.setgid(int(gid))
os.setuid(int(uid))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    print(connection.makefile().read(), end="")
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that others can get at."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@asynccontextmanager
async def serving(
    directory: Path, tokens: LocalTokens | None = None, *, mode: int = 0o666, group: str = ""
) -> AsyncIterator[AuthSocket]:
    """Listen beside `v.sock`."""
    unix = UnixSocket(directory / "v.sock", mode, group)
    server = AuthSocket(unix, tokens or LocalTokens(FakeClock()))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(path: Path) -> Any:
    """Return what the socket says, None when it says nothing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_unix_connection(path)
        line = await reader.read()
        writer.close()
        await writer.wait_closed()
    return json.loads(line) if line else None


async def ask_as(path: Path, uid: int, gid: int, *groups: int) -> Any:
    """Return what the socket says to somebody else, in a process of their own."""
    arguments = [str(one) for one in (path, uid, gid, *groups)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


async def test_who_connects_gets_a_token_of_their_own(directory: Path) -> None:
    """It says who runs the tests, and for how long."""
    tokens = LocalTokens(FakeClock(), lifetime_seconds=60)
    async with serving(directory, tokens) as server:
        assert server.path == directory / "v.sock.auth"
        answer = await ask(server.path)
    assert (answer["caller"], answer["expires_in_seconds"]) == (f"user:{ME}", 60)
    caller = tokens.authenticate(answer["token"])
    assert (caller.name, caller.via) == (f"user:{ME}", Via.SOCKET)
    assert caller.identities == {f"user:{ME}", f"uid:{os.geteuid()}", LOCAL_ADMINISTRATOR}


@as_root
async def test_the_kernel_says_who_it_is(directory: Path) -> None:
    """Another user with groups of its own is told by name; what has none by number."""
    tokens = LocalTokens(FakeClock())
    async with serving(directory, tokens) as server:
        nobody = await ask_as(server.path, 65534, 1, 2, 54321)
        stranger = await ask_as(server.path, 43210, 54321)
        lone = await ask_as(server.path, 43210, 43210, 54321, 54322)
    caller = tokens.authenticate(nobody["token"])
    assert caller.identities == {"user:nobody", "uid:65534"}
    assert caller.groups == {"daemon", "bin", "gid:54321"}
    caller = tokens.authenticate(stranger["token"])
    assert (stranger["caller"], caller.name) == ("uid:43210", "uid:43210")
    assert (*caller.identities, *caller.groups) == ("uid:43210", "gid:54321")
    assert tokens.authenticate(lone["token"]).groups == {"gid:43210", "gid:54321", "gid:54322"}


@as_root
async def test_too_many_groups_are_told(directory: Path) -> None:
    """None is left out in silence."""
    async with serving(directory) as server:
        answer = await ask_as(server.path, 43210, 1, *range(50_000, 50_257))
    assert "more than 256 groups" in answer["error"]


async def test_only_whom_the_sockets_mode_lets_in(directory: Path) -> None:
    """Mode and group are those of the main socket."""
    async with serving(directory, mode=0o660, group="bin" if os.geteuid() == 0 else "") as server:
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o660
        if os.geteuid() == 0:
            assert server.path.stat().st_gid == 2
            with pytest.raises(AssertionError, match="PermissionError"):
                await ask_as(server.path, 65534, 65534)
            assert (await ask_as(server.path, 65534, 65534, 2))["token"]
    assert not server.path.exists()


async def test_a_user_database_that_fails_leaves_the_numbers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The uid is the kernel's word."""

    def fail(_number: int) -> None:
        raise OSError(5, "the directory service is on fire")

    monkeypatch.setattr("pwd.getpwuid", fail)
    monkeypatch.setattr("grp.getgrgid", fail)
    tokens = LocalTokens(FakeClock())
    async with serving(directory, tokens) as server:
        caller = tokens.authenticate((await ask(server.path))["token"])
    assert caller.name == f"uid:{os.geteuid()}"
    assert f"gid:{os.getegid()}" in caller.groups


async def test_a_user_database_that_hangs_holds_nobody_up_for_long(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while the client is told; a name that isn't known might be one that a rule denies."""
    go = threading.Event()
    monkeypatch.setattr(auth_socket, "NAMES_SECONDS", 0.05)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: go.wait(PATIENCE_SECONDS) and None)
    try:
        async with serving(directory) as server:
            answers = await asyncio.gather(*(ask(server.path) for _ in range(6)))
            assert all("did not answer" in answer["error"] for answer in answers)
    finally:
        go.set()


async def test_a_client_that_does_not_read_holds_nothing(directory: Path) -> None:
    """It has its answer all the same, and many of them leave room for others."""
    async with serving(directory) as server:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS + 10)]
        try:
            for connection in idle:
                await asyncio.to_thread(connection.connect, str(server.path))
                with suppress(BrokenPipeError):
                    connection.send(b"GET / HTTP/1.1\r\n\r\n")
            assert (await ask(server.path))["token"]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while server._answers:
                    await asyncio.wait(server._answers)
        finally:
            for connection in idle:
                connection.close()


async def test_so_many_are_answered_at_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are closed without an answer, and nothing grows."""
    go = threading.Event()
    monkeypatch.setattr(auth_socket, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(auth_socket, "names_of", lambda _uid, _gids: (go.wait(PATIENCE_SECONDS) and "alice", []))
    async with serving(directory) as server:
        waiting = [asyncio.create_task(ask(server.path)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(server._answers) < 2:  # noqa: ASYNC110 - it tells nobody when it changes
                await asyncio.sleep(0.005)
        assert await ask(server.path) is None
        go.set()
        assert [answer["caller"] for answer in await asyncio.gather(*waiting)] == ["user:alice"] * 2


async def test_stopping_drops_what_is_under_way(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for, and the socket is gone."""
    go = threading.Event()
    monkeypatch.setattr(auth_socket, "names_of", lambda _uid, _gids: (go.wait(PATIENCE_SECONDS) and "", []))
    async with serving(directory) as server:
        waiting = asyncio.create_task(ask(server.path))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server._answers:  # noqa: ASYNC110 - it tells nobody when it changes
                await asyncio.sleep(0.005)
        await asyncio.wait_for(server.stop(), PATIENCE_SECONDS)
        assert not server.path.exists()
        assert await waiting is None
        go.set()


async def test_a_socket_that_was_left_behind_is_replaced(directory: Path) -> None:
    """A daemon that was killed leaves one."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "v.sock.auth"))
    async with serving(directory) as server:
        assert (await ask(server.path))["token"]


async def test_a_path_that_is_taken_is_refused(directory: Path) -> None:
    """By another daemon or by a file; what is there stays."""
    async with serving(directory) as first:
        with pytest.raises(AddressUnusable, match="another process serves there"):
            async with serving(directory):
                pass
        assert (await ask(first.path))["token"]
    (directory / "v.sock.auth").write_text("mine")
    with pytest.raises(AddressUnusable, match="not a socket"):
        async with serving(directory):
            pass
    assert (directory / "v.sock.auth").read_text() == "mine"


@pytest.mark.parametrize("name", ["x" * 101, "missing/v"])
async def test_a_path_that_can_not_be_is_told(directory: Path, name: str) -> None:
    """With the address and the reason."""
    server = AuthSocket(UnixSocket(directory / name, 0o600, ""), LocalTokens(FakeClock()))
    with pytest.raises(AddressUnusable, match=r"longer than 107|No such file"):
        await server.start()
    await server.stop()


async def test_a_group_that_does_not_exist_is_told(directory: Path) -> None:
    """Nothing is left behind."""
    with pytest.raises(AddressUnusable, match="mode or group"):
        async with serving(directory, group="no-such-group"):
            pass
    assert list(directory.iterdir()) == []


def test_it_runs_on_the_daemons_loop_too(directory: Path) -> None:
    """That is uvloop's."""

    async def run() -> Any:
        async with serving(directory) as server:
            return await ask(server.path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run())["caller"] == f"user:{ME}"
