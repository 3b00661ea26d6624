"""The store's file edited by hand while the daemon is down: what doesn't fit is refused and named, the rest works."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from e2e.daemon import PATIENCE_SECONDS
from e2e.failures import failed
from e2e.mortal import Mortal, mortal
from vestry.v1 import secrets_pb2

pytestmark = pytest.mark.e2e

HEAD, OTHER_HEAD = "secret/default/key", "secret/default/other"
FIRST, SECOND = "secret-version/default/key/000000000001", "secret-version/default/key/000000000002"
OTHER_RECORD = "secret-version/default/other/000000000001"
INDEX = "secret-index"
VALUES = {"key": b"second", "other": b"other", "bystander": b"bystander"}

Edit = Callable[[sqlite3.Connection], None]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Mortal]:
    """A daemon that was stopped, and has a secret with two versions among others."""
    with mortal(tmp_path / "d") as made:
        made.start()
        made.put("key", b"first")
        for name, value in VALUES.items():
            made.put(name, value)
        made.stop()
        yield made


def history(connection: sqlite3.Connection, key: str) -> list[bytes]:
    """Return what the store's file still has of a key, oldest first."""
    return [value for (value,) in connection.execute("SELECT value FROM log WHERE key = ? ORDER BY position", [key])]


def write(connection: sqlite3.Connection, key: str, value: bytes) -> None:
    """Put a value in the place of a key's current one."""
    place = "(SELECT position FROM current WHERE key = ?)"
    assert connection.execute(f"UPDATE log SET value = ? WHERE position = {place}", [value, key]).rowcount == 1


def flip(key: str) -> Edit:
    """Change one bit in the last byte but forty of a key's value."""

    def edit(connection: sqlite3.Connection) -> None:
        value = bytearray(history(connection, key)[-1])
        value[-40] ^= 1
        write(connection, key, bytes(value))

    return edit


def roll_back(key: str) -> Edit:
    """Put the value that a key had first in the place of its present one."""
    return lambda connection: write(connection, key, history(connection, key)[0])


def swap(key: str, other: str) -> Edit:
    """Exchange the values of two keys."""

    def edit(connection: sqlite3.Connection) -> None:
        first, second = history(connection, key)[-1], history(connection, other)[-1]
        write(connection, key, second)
        write(connection, other, first)

    return edit


def remove(key: str) -> Edit:
    """Take a key away."""

    def edit(connection: sqlite3.Connection) -> None:
        assert connection.execute("DELETE FROM current WHERE key = ?", [key]).rowcount == 1

    return edit


def edited(daemon: Mortal, edit: Edit) -> Mortal:
    """Edit the store's file, and start the daemon on it."""
    with closing(sqlite3.connect(daemon.store)) as connection, connection:
        edit(connection)
    return daemon.start()


def outcome(daemon: Mortal, name: str, version: int = 0) -> bytes | str:
    """Return a value, or the reason for which it is refused."""
    try:
        return daemon.reveal(name, version)
    except grpc.RpcError as error:
        return failed(error).reason


@pytest.mark.parametrize(
    ("edit", "damaged"),
    [
        pytest.param(flip(HEAD), {"key"}, id="one bit of a head"),
        pytest.param(flip(SECOND), {"key"}, id="one bit of a version"),
        pytest.param(swap(HEAD, OTHER_HEAD), {"key", "other"}, id="two heads swapped"),
        pytest.param(swap(SECOND, OTHER_RECORD), {"key", "other"}, id="versions of two secrets swapped"),
        pytest.param(swap(FIRST, SECOND), {"key"}, id="two versions swapped"),
        pytest.param(remove(SECOND), {"key"}, id="a version removed"),
    ],
)
def test_what_was_edited_is_refused_and_the_rest_works(daemon: Mortal, edit: Edit, damaged: set[str]) -> None:
    """Exactly the secrets that were touched are refused, as damaged; no other value is ever given in their place."""
    edited(daemon, edit)
    expected = {name: "RECORD_DAMAGED" if name in damaged else value for name, value in VALUES.items()}
    assert {name: outcome(daemon, name) for name in VALUES} == expected
    assert daemon.put("bystander", b"goes on") == 2


def test_a_head_that_was_edited_is_named(daemon: Mortal) -> None:
    """The status names it, and it is left out of the list."""
    edited(daemon, flip(HEAD))
    assert any("default/key" in one for one in daemon.problems("secrets"))
    listed = daemon.secrets.ListSecrets(secrets_pb2.ListSecretsRequest(), timeout=PATIENCE_SECONDS)
    assert [one.name for one in listed.secrets] == ["bystander", "other"]


def test_a_version_that_was_edited_leaves_the_other_versions(daemon: Mortal) -> None:
    """Only the one whose record was touched is refused."""
    edited(daemon, flip(FIRST))
    assert outcome(daemon, "key", 1) == "RECORD_DAMAGED"
    assert outcome(daemon, "key") == b"second"


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(remove(HEAD), id="a head removed"),
        pytest.param(roll_back(INDEX), id="the index rolled back"),
        pytest.param(flip(INDEX), id="one bit of the index"),
        pytest.param(remove(INDEX), id="the index removed"),
    ],
)
def test_what_is_missing_is_a_problem(daemon: Mortal, edit: Edit) -> None:
    """What no secret shows by itself, its status says; the secrets that are there are given."""
    edited(daemon, edit)
    assert [one for one in daemon.problems("secrets") if "unlock key" not in one]
    assert outcome(daemon, "bystander") == b"bystander"


@pytest.mark.parametrize("has_its_version", [True, False], ids=["with its version", "the head alone"])
def test_a_secret_that_was_rolled_back_is_seen(daemon: Mortal, *, has_its_version: bool) -> None:
    """Each part is genuine, and once was true: the index knows better, and stays so, whatever is written next.

    It can't say which secret it is, since nothing is left of what was there; so the older value is given.
    """

    def edit(connection: sqlite3.Connection) -> None:
        roll_back(HEAD)(connection)
        if has_its_version:
            remove(SECOND)(connection)

    def is_seen() -> bool:
        return any("put back to an earlier state" in one for one in daemon.problems("secrets"))

    edited(daemon, edit)
    assert is_seen()
    assert daemon.put("bystander", b"goes on") == 2
    assert is_seen()
    daemon.stop()
    daemon.start()
    assert is_seen()
    assert outcome(daemon, "other") == b"other"
