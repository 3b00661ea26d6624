"""AsyncClient and its views, against a daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client.conftest import POLICY
from client.fake_daemon import FakeDaemon
from client.waiting import eventually
from vestry import (
    AsyncClient,
    ClientClosed,
    Invalid,
    InvalidTarget,
    LimitExceeded,
    NotFound,
    Unavailable,
    VersionMismatch,
    WrongEventLoop,
)
from vestry.v1 import admin_pb2, common_pb2, config_pb2


async def test_a_view_shows_the_daemons_state(client: AsyncClient) -> None:
    """A view has the document, its version and its freshness as soon as it is there."""
    view = await client.config()
    assert view["server.port"] == 80
    assert view.version == 1
    assert view.document == {"server": {"port": 80}, "name": "a"}
    assert view.is_live
    assert view.age < 5
    assert (view.snapshot.author, view.snapshot.cause) == ("tester", "file")


async def test_a_view_follows_changes(client: AsyncClient, daemon: FakeDaemon) -> None:
    """A change at the daemon reaches the view, and a reader of its changes."""
    view = await client.config()
    changes = view.changes()
    daemon.set("default", {"server": {"port": 81}})
    change = await anext(changes)
    assert (change.previous_version, change.version) == (1, 2)
    assert (change.previous["server.port"], change.current["server.port"]) == (80, 81)
    assert (change.author, change.message, change.namespace) == ("tester", "version 2", "default")
    assert view["server.port"] == 81


async def test_a_snapshot_stands_still(client: AsyncClient, daemon: FakeDaemon) -> None:
    """What was taken as a snapshot stays whole while the view moves on."""
    view = await client.config()
    snapshot, changes = view.snapshot, view.changes()
    daemon.set("default", {})
    await anext(changes)
    assert snapshot["server.port"] == 80
    assert "server.port" not in view


async def test_a_slow_reader_sees_the_newest(client: AsyncClient, daemon: FakeDaemon) -> None:
    """Changes that nobody took are one change, from what was seen to what is in force."""
    view = await client.config()
    changes = view.changes()
    for port in range(100, 150):
        daemon.set("default", {"server": {"port": port}})
    await eventually(lambda: view.version == 51)
    change = await anext(changes)
    assert (change.previous_version, change.version) == (1, 51)


async def test_the_same_namespace_gives_the_same_view(client: AsyncClient) -> None:
    """A namespace has one view, also when it is asked for twice at once."""
    first, second = await asyncio.gather(client.config("billing"), client.config("billing"))
    assert first is second is await client.config("billing")


async def test_all_views_share_one_stream(client: AsyncClient, daemon: FakeDaemon) -> None:
    """Adding a namespace starts the one stream anew, without a token, and loses nothing."""
    default = await client.config()
    await eventually(lambda: default.is_live)
    changes = default.changes()
    daemon.set("default", {"step": 2})
    billing = await client.config("billing")
    daemon.set("default", {"step": 3})
    daemon.set("billing", {"currency": "CHF"})
    await eventually(lambda: default.version == 3 and billing.version == 2)
    assert [(watch.namespaces, watch.resume_token) for watch in daemon.watches] == [
        (["default"], ""),
        (["billing", "default"], ""),
    ]
    assert (await anext(changes)).version >= 2
    assert default.is_live


async def test_an_unknown_namespace_is_its_askers_error(client: AsyncClient, daemon: FakeDaemon) -> None:
    """Asking for what the daemon doesn't have raises NotFound, again and again, and other views go on."""
    view = await client.config()
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await client.config("nothing")
        assert caught.value.reason == "DOCUMENT_NOT_FOUND"
        assert caught.value.metadata["name"] == "nothing"
    changes = view.changes()
    daemon.set("default", {"still": "here"})
    assert (await anext(changes)).document == {"still": "here"}
    assert view.is_live


async def test_the_first_namespace_can_be_unknown(client: AsyncClient) -> None:
    """A client whose first question was wrong serves the next one."""
    with pytest.raises(NotFound):
        await client.config("nothing")
    assert (await client.config())["name"] == "a"


@pytest.mark.parametrize("name", ["", "Default", "-a", "a/b", "../x", "a" * 64])
async def test_a_bad_name_is_refused_here(client: AsyncClient, name: str) -> None:
    """A name that no namespace can have raises Invalid before anything is sent."""
    with pytest.raises(Invalid) as caught:
        await client.config(name)
    assert caught.value.violations[0].pointer == "namespace"


async def test_one_stream_has_its_limit(client: AsyncClient, daemon: FakeDaemon) -> None:
    """The 101st namespace of a client raises LimitExceeded; the hundred go on."""
    names = [f"n{number}" for number in range(100)]
    for name in names:
        daemon.set(name, {"name": name})
    views = await asyncio.gather(*map(client.config, names))
    with pytest.raises(LimitExceeded, match="use another"):
        await client.config()
    daemon.set("n99", {"name": "changed"})
    await eventually(lambda: views[99]["name"] == "changed")
    assert all(view.is_live for view in views)


async def test_an_absent_daemon_is_named(tmp_path: Path) -> None:
    """Without a daemon and a cache, config raises Unavailable within the timeout, and says what to do."""
    target = f"unix:{tmp_path}/none.sock"
    async with AsyncClient(target, timeout=0.2, reconnect=POLICY) as client:
        with pytest.raises(Unavailable, match="systemctl status vestryd") as caught:
            await client.config()
    assert target in str(caught.value)


async def test_a_daemon_that_does_not_answer_is_named(daemon: FakeDaemon) -> None:
    """A daemon that hangs is Unavailable too, by its address."""
    daemon.hang()
    async with AsyncClient(daemon.target, timeout=0.2, reconnect=POLICY) as client:
        with pytest.raises(Unavailable, match="doesn't answer") as caught:
            await client.config()
    assert daemon.target in str(caught.value)


async def test_config_waits_for_a_daemon_that_starts_late(target: str) -> None:
    """A daemon that comes up within the timeout is not missed."""
    async with AsyncClient(target, timeout=5.0, reconnect=POLICY) as client:
        waiting = asyncio.create_task(client.config())
        daemon = FakeDaemon(target)
        daemon.set("default", {"late": True})
        await daemon.start()
        assert (await waiting)["late"] is True
        await daemon.kill()


async def test_a_callback_hears_of_its_value_alone(client: AsyncClient, daemon: FakeDaemon) -> None:
    """on_change calls with the old and the new value, when that value changed, until it is cancelled."""
    view = await client.config()
    heard: list[tuple[object, object]] = []
    subscription = view.on_change("server.port", lambda old, new: heard.append((old, new)))
    daemon.set("default", {"server": {"port": 80}, "name": "b"})
    daemon.set("default", {"server": {"port": 81}})
    daemon.set("default", {"server": {"port": True}})
    daemon.set("default", {})
    await eventually(lambda: view.version == 5)
    assert heard == [(80, 81), (81, True), (True, None)]
    subscription.cancel()
    subscription.cancel()
    daemon.set("default", {"server": {"port": 82}})
    await eventually(lambda: view.version == 6)
    assert len(heard) == 3


async def test_json_values_are_compared_as_json(client: AsyncClient, daemon: FakeDaemon) -> None:
    """1, 1.0 and true are three values, though Python finds them equal."""
    daemon.set("default", {"a": [1]})
    view = await client.config()
    heard: list[object] = []
    view.on_change("/a", lambda _, new: heard.append(new))
    daemon.set("default", {"a": [True]})
    daemon.set("default", {"a": [1.0]})
    await eventually(lambda: view.version == 4)
    assert [type(value[0]) for value in heard if isinstance(value, list)] == [bool, float]


async def test_a_failing_callback_hurts_nobody(
    client: AsyncClient, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """What a callback raises is logged; other callbacks and the stream go on."""
    view = await client.config()
    heard: list[object] = []

    def fail(_old: object, _new: object) -> None:
        raise RuntimeError("mine")

    view.on_change("", fail)
    view.on_change("", lambda _, new: heard.append(new))
    daemon.set("default", {"n": 1})
    await eventually(lambda: heard == [{"n": 1}])
    daemon.set("default", {"n": 2})
    await eventually(lambda: len(heard) == 2)
    assert "config.callback_failed" in caplog.text


async def test_a_coroutine_is_no_callback(client: AsyncClient) -> None:
    """on_change refuses what it could not await."""

    async def wait(_old: object, _new: object) -> None: ...

    view = await client.config()
    with pytest.raises(TypeError, match=r"changes\(\)"):
        view.on_change("a", wait)  # type: ignore[arg-type]


async def test_a_rejection_shows_until_it_is_lifted(client: AsyncClient, daemon: FakeDaemon) -> None:
    """Files that the daemon refuses show on the view; the document stays."""
    view = await client.config()
    daemon.reject("default", common_pb2.Violation(pointer="/a", rule="type", message="no"))
    await eventually(lambda: view.rejection is not None)
    assert view.rejection is not None
    assert view.rejection.violations[0].pointer == "/a"
    assert view.version == 1
    daemon.reject("default")
    await eventually(lambda: view.rejection is None)


async def test_the_calls_of_a_view(client: AsyncClient, daemon: FakeDaemon) -> None:
    """A view updates, replaces, rolls back, validates, explains, and tells history and status."""
    view = await client.config()
    updated = await view.update({"name": "b"}, expected_version=1, message="why")
    assert (updated.version, updated.changed) == (2, True)
    assert (await view.update({"name": "c"}, dry_run=True)).version == 3
    assert (await view.replace({"name": "d"})).version == 3
    assert (await view.rollback(1)).version == 4
    assert view.version == 4
    assert view["server.port"] == 80
    assert not (await view.validate({"wrong": 1})).valid
    assert [version.version async for version in view.history(page_size=3)] == [4, 3, 2, 1]
    assert (await view.explain('"server".port')).leaves[0].pointer == "/server/port"
    assert (await view.status()).version == 4
    ids = {request.request_id for request in daemon.updates}
    assert len(ids) == 3
    assert all(ids)


async def test_a_caller_reads_what_it_wrote(client: AsyncClient) -> None:
    """A change returns once the view shows it."""
    view = await client.config()
    for number in range(20):
        await view.update({"number": number})
        assert view["number"] == number


async def test_refused_updates_are_typed(client: AsyncClient) -> None:
    """A stale version raises VersionMismatch, a broken rule Invalid with its violations."""
    view = await client.config()
    with pytest.raises(VersionMismatch) as stale:
        await view.update({"a": 1}, expected_version=7)
    assert stale.value.metadata == {"expected_version": "7", "actual_version": "1"}
    with pytest.raises(Invalid) as invalid:
        await view.update({"wrong": 1})
    assert [(violation.pointer, violation.rule) for violation in invalid.value.violations] == [("/wrong", "not")]
    with pytest.raises(NotFound):
        await view.rollback(99)


async def test_an_update_whose_answer_is_lost_happens_once(client: AsyncClient, daemon: FakeDaemon) -> None:
    """The repeated call carries the same request_id, so one version is made."""
    view = await client.config()
    daemon.answers_to_lose = 2
    answer = await view.update({"name": "b"})
    assert answer.version == 2
    assert len({request.request_id for request in daemon.updates}) == 1
    assert len(daemon.updates) == 3


async def test_the_stubs_are_at_hand(client: AsyncClient) -> None:
    """What no view offers is called through the generated stubs."""
    request = config_pb2.ExplainConfigRequest(namespace="default", pointer="/name")
    assert (await client.stubs.config.ExplainConfig(request, timeout=5)).namespace == "default"
    assert admin_pb2.GetStatusRequest is not None
    assert client.stubs.admin is not None


async def test_a_closed_client_says_so(daemon: FakeDaemon) -> None:
    """After close the view stays readable and stands still, changes end, and calls raise ClientClosed."""
    client = AsyncClient(daemon.target, timeout=5.0)
    view = await client.config()
    waiting = asyncio.ensure_future(anext(view.changes(), None))
    calling = asyncio.create_task(_stuck_call(client, daemon))
    await eventually(lambda: not calling.done() and not daemon.is_awake)
    await client.close()
    await client.close()
    assert await waiting is None
    assert await calling == "closed"
    assert view["name"] == "a"
    assert not view.is_live
    with pytest.raises(ClientClosed):
        await client.config()
    with pytest.raises(ClientClosed):
        await view.update({})
    assert [change async for change in view.changes()] == []


async def _stuck_call(client: AsyncClient, daemon: FakeDaemon) -> str:
    view = await client.config()
    daemon.hang()
    try:
        await view.status()
    except ClientClosed:
        return "closed"
    return "answered"


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    """A client belongs to the loop of its first use."""
    client = AsyncClient(f"unix:{tmp_path}/none.sock", timeout=0.05, reconnect=POLICY)

    async def use() -> None:
        with pytest.raises(Unavailable):
            await client.config()

    async def use_elsewhere() -> None:
        with pytest.raises(WrongEventLoop):
            await client.config()

    with asyncio.Runner() as first:
        first.run(use())
        with asyncio.Runner() as second:
            second.run(use_elsewhere())
        first.run(client.close())


def test_a_bad_target_is_refused_at_once() -> None:
    """A client is not made for an address that can't be one."""
    with pytest.raises(InvalidTarget):
        AsyncClient("http://localhost")
