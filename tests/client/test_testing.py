"""The doubles for users' tests."""

from __future__ import annotations

import asyncio

import pytest

from vestry import ClientClosed, NotFound, Unimplemented, VersionMismatch
from vestry.testing import AsyncFakeClient, FakeClient
from vestry.v1 import common_pb2, config_pb2

DOCUMENTS = {"default": {"server": {"port": 80, "hosts": ["a", "b"]}}, "billing": {}}


def test_set_makes_a_version_and_calls_back_at_once() -> None:
    """After set, the view shows the value and the callbacks have run."""
    client = FakeClient(DOCUMENTS)
    view = client.config()
    heard: list[tuple[object, object]] = []
    view.on_change("server.port", lambda old, new: heard.append((old, new)))
    client.set("default", "server.port", 81)
    client.set("default", "server.hosts.1", "c")
    client.set("default", "new.object", {"x": 1})
    assert heard == [(80, 81)]
    assert view.document == {"server": {"port": 81, "hosts": ["a", "c"]}, "new": {"object": {"x": 1}}}
    assert view.version == 4
    assert view.is_live
    client.set("default", "", {"all": "new"})
    assert view.document == {"all": "new"}


def test_the_views_are_apart() -> None:
    """A namespace's changes don't show in another; the same one gives the same view; an unknown one raises NotFound."""
    client = FakeClient(DOCUMENTS)
    client.set("billing", "a", 1)
    assert client.config("billing") is client.config("billing")
    assert client.config().version == 1
    with pytest.raises(NotFound):
        client.config("nothing")


def test_changes_are_iterated() -> None:
    """A change that was made is there for who iterates; closing ends it."""
    with FakeClient(DOCUMENTS) as client:
        changes = client.config().changes()
        client.set("default", "a", 1)
        client.set("default", "a", 2)
        assert next(changes).version == 3
    assert list(changes) == []


def test_writes_work() -> None:
    """An update merges, replace replaces, rollback goes back, history tells, conditions hold, dry runs change nothing."""
    client = FakeClient({"default": {"a": {"b": 1, "c": 2}}})
    view = client.config()
    assert view.update({"a": {"b": None}}, message="why").version == 2
    assert view.document == {"a": {"c": 2}}
    assert view.update({"a": {"c": 2}}).changed is False
    assert view.update({"a": 1}, dry_run=True).version == 3
    assert view.replace({"z": 1}, expected_version=2).version == 3
    assert view.rollback(1).version == 4
    assert view.document == {"a": {"b": 1, "c": 2}}
    assert [(entry.version, entry.message) for entry in view.history()][2] == (2, "why")
    assert view.validate({}).valid
    with pytest.raises(VersionMismatch):
        view.update({}, expected_version=1)
    with pytest.raises(NotFound):
        view.rollback(9)
    with pytest.raises(Unimplemented, match="GetConfigStatus"):
        view.status()


def test_bad_days_can_be_played() -> None:
    """A test can take the daemon away and have files refused."""
    client = FakeClient(DOCUMENTS)
    view = client.config()
    client.disconnect("default")
    assert not view.is_live
    assert view.error is not None
    client.set("default", "a", 1)
    assert view.is_live
    client.reject("default", config_pb2.Rejection(violations=[common_pb2.Violation(pointer="/a")]))
    assert view.rejection is not None
    client.reject("default", None)
    assert view.rejection is None


def test_a_closed_fake_says_so() -> None:
    """A fake is as closed as a client is."""
    client = FakeClient(DOCUMENTS)
    view = client.config()
    client.close()
    assert not view.is_live
    with pytest.raises(ClientClosed):
        client.config()
    with pytest.raises(ClientClosed):
        view.update({})


async def test_the_asynchronous_shape() -> None:
    """AsyncFakeClient is awaited where AsyncClient is."""
    async with AsyncFakeClient(DOCUMENTS) as client:
        view = await client.config()
        waiting = asyncio.ensure_future(anext(view.changes()))
        await asyncio.sleep(0)
        client.set("default", "server.port", 81)
        assert (await waiting).document["server"]["port"] == 81
        assert (await view.update({"server": {"port": 82}})).version == 3
        assert view.get_int("server.port") == 82
    assert [change async for change in view.changes()] == []
