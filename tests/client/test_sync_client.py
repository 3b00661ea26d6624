"""Client and its views: the same shape, for threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.conftest import POLICY
from client.daemon_process import daemon_process, environment
from client.waiting import eventually_here
from vestry import CallInCallback, Client, ClientClosed, NotFound, Unavailable, VersionMismatch


@pytest.fixture
def address(target: str) -> Iterator[str]:
    """The address of a daemon in a process of its own."""
    with daemon_process(target):
        yield target


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    """A client of that daemon."""
    with Client(address, timeout=5.0, reconnect=POLICY) as client:
        yield client


def test_it_has_the_shape_of_the_asynchronous_one(client: Client) -> None:
    """Reads, updates, history, status and errors are those of AsyncClient, without await."""
    view = client.config()
    assert view is client.config("default")
    assert view["from"] == "process"
    changes = view.changes()
    assert view.update({"a": 1}, message="why").version == 2
    change = next(changes)
    assert (change.previous_version, change.version) == (1, 2)
    assert view.replace({"b": 1}).version == 3
    assert view.rollback(1).version == 4
    assert view.validate({"wrong": 1}).valid is False
    assert [version.version for version in view.history(page_size=3)] == [4, 3, 2, 1]
    assert view.explain("from").leaves[0].pointer == "/from"
    assert view.status().version == 4
    with pytest.raises(VersionMismatch):
        view.update({}, expected_version=1)
    with pytest.raises(NotFound):
        client.config("nothing")


def test_a_callback_runs_on_the_clients_thread(client: Client) -> None:
    """A callback hears of changes on the thread named vestry-client, where calls of the client raise CallInCallback."""
    view = client.config()
    heard: list[object] = []

    def callback(_old: object, new: object) -> None:
        heard.append((threading.current_thread().name, new))
        try:
            view.status()
        except CallInCallback as error:
            heard.append(type(error))

    view.on_change("a", callback)
    view.update({"a": 1})
    eventually_here(lambda: len(heard) == 2)
    assert heard == [("vestry-client", 1), CallInCallback]


def test_threads_share_a_client(client: Client) -> None:
    """Threads that ask for a namespace at once get one view, and each sees the change that it waits for."""
    views = set()
    seen = []
    started = threading.Barrier(5)

    def read_and_wait() -> None:
        view = client.config()
        changes = view.changes()
        views.add(view)
        started.wait(5)
        seen.append(next(changes).version)

    threads = [threading.Thread(target=read_and_wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait(5)
    client.config().update({"a": 1})
    for thread in threads:
        thread.join(5)
    assert len(views) == 1
    assert seen == [2, 2, 2, 2]


def test_closing_lets_waiting_threads_go(address: str) -> None:
    """A thread that waits for changes ends with its client; the view stays readable, and calls raise ClientClosed."""
    client = Client(address, timeout=5.0)
    view = client.config()
    waiting = threading.Thread(target=lambda: list(view.changes()))
    waiting.start()
    client.close()
    client.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert view["from"] == "process"
    assert not view.is_live
    assert list(view.changes()) == []
    for use in (client.config, view.status, lambda: view.update({}), lambda: view.on_change("", print)):
        with pytest.raises(ClientClosed):
            use()


def test_an_unused_client_has_no_thread(target: str) -> None:
    """Making and closing a client starts nothing."""
    before = threading.active_count()
    with Client(target):
        assert threading.active_count() == before


def test_an_absent_daemon_is_unavailable(target: str) -> None:
    """Without a daemon, config raises Unavailable within its timeout."""
    with Client(target, timeout=0.2, reconnect=POLICY) as client, pytest.raises(Unavailable, match="has no state"):
        client.config()


def test_a_forgotten_client_ends_its_thread(address: str) -> None:
    """A client that nobody holds any more, nor a view of it, is closed by the collector; a view in use keeps it."""
    client = Client(address, timeout=5.0)
    view = client.config()
    collected = threading.Event()
    weakref.finalize(client, collected.set)
    del client
    gc.collect()
    assert not collected.is_set()
    assert view.status().version == 1
    del view
    gc.collect()
    assert collected.is_set()
    eventually_here(lambda: "vestry-client" not in {thread.name for thread in threading.enumerate()})


_LEFT_OPEN = """
import sys, vestry
client = vestry.Client(sys.argv[1], timeout=5.0, cache_dir=sys.argv[2])
print(client.config()["from"])
"""


def test_a_client_left_open_does_not_hold_up_the_exit(address: str, tmp_path: Path) -> None:
    """A program that never closes its client ends at once, quietly and with its cache written."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", _LEFT_OPEN, address, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment(),
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "process\n", "")
    assert len(list((tmp_path / "cache").iterdir())) == 1


# Eight children: with gRPC's fork support on, one in four would die of SIGSEGV (vestry.fork_support).
_FORK = """
import os, sys, vestry

def report(client, view):
    print(view["from"], view.version, view.is_live, flush=True)
    other = vestry.Client(sys.argv[1])
    changes = view.changes()
    for use in (client.config, view.status, lambda: next(changes), lambda: view.on_change("", print), other.config):
        try:
            use()
        except vestry.ForkedProcess as error:
            print(type(error).__name__, flush=True)
    client.close()

client = vestry.Client(sys.argv[1], timeout=5.0)
view = client.config()
for _ in range(8):
    child = os.fork()
    if child == 0:
        report(client, view)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), view.is_live, view.status().version, flush=True)
client.close()
print("GRPC_ENABLE_FORK_SUPPORT" in os.environ)
"""

_FORK_FIRST = """
import os, sys, vestry

client = vestry.Client(sys.argv[1], timeout=5.0)
child = os.fork()
with client:
    os.write(1, (client.config()["from"] + "\\n").encode())  # in one piece: both write to the same pipe
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def _run(program: str, address: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", program, address],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(),
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_used_client_says_so_after_a_fork(address: str) -> None:
    """In the child, the view reads its last state and is not live, all else raises ForkedProcess, and the exit is clean."""
    once = ["process 1 False", *["ForkedProcess"] * 5, "7 True 1"]
    assert _run(_FORK, address) == [*once * 8, "False"]


def test_an_unused_client_works_on_both_sides_of_a_fork(address: str) -> None:
    """A client that was made but not used before the fork opens in the child and in the parent."""
    assert _run(_FORK_FIRST, address) == ["process", "process", "0"]
