"""Handles of secrets: what they give, what they keep, what they hear, and what they never show."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.conftest import POLICY
from client.fake_daemon import FakeDaemon
from client.waiting import eventually
from vestry import (
    AsyncClient,
    AsyncSecretHandle,
    ClientClosed,
    Invalid,
    NotFound,
    PermissionDenied,
    SecretNotText,
    SecretWithheld,
    Unavailable,
    VersionMismatch,
)
from vestry.live_secrets import CURRENT
from vestry.v1 import secrets_pb2

CANARY = b"correct-horse-battery-staple"


@pytest.fixture
async def handle(client: AsyncClient, daemon: FakeDaemon) -> AsyncSecretHandle:
    """The handle of a secret at version 1."""
    daemon.secrets.put("db-password", CANARY)
    return client.secrets["db-password"]


@pytest.fixture
async def impatient(daemon: FakeDaemon) -> AsyncIterator[AsyncClient]:
    """A client whose values are fresh for no time worth speaking of."""
    options = {"timeout": 5.0, "secret_cache_seconds": 0.001, "secret_stale_seconds": 60.0}
    async with AsyncClient(daemon.target, reconnect=POLICY, **options) as client:  # type: ignore[arg-type]
        yield client


async def _watched(handle: AsyncSecretHandle) -> None:
    await handle.reveal()
    await eventually(lambda: handle.is_live)


async def test_a_handle_reveals_the_current_value(handle: AsyncSecretHandle) -> None:
    """A value is bytes, or text when it is UTF-8."""
    assert await handle.reveal() == CANARY
    assert await handle.reveal_text() == CANARY.decode()
    assert (handle.namespace, handle.name, handle.version) == ("default", "db-password", 1)


async def test_another_namespace_and_other_versions(
    client: AsyncClient, handle: AsyncSecretHandle, daemon: FakeDaemon
) -> None:
    """Any namespace, any version by its number, the previous one by its label."""
    daemon.secrets.put("key", b"one", namespace="billing")
    daemon.secrets.put("key", b"two", namespace="billing")
    key = client.secrets_in("billing")["key"]
    assert await key.reveal() == b"two"
    assert await key.reveal(version=1) == await key.reveal(label="previous") == b"one"
    with pytest.raises(ValueError, match="no label"):
        await key.reveal(label="oldest")  # type: ignore[arg-type]


async def test_a_value_is_asked_for_once_in_a_while(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A fresh value is given from memory, and many who ask at once make one call."""
    values = await asyncio.gather(*(handle.reveal() for _ in range(20)))
    assert set(values) == {CANARY}
    await handle.reveal()
    assert len(daemon.secrets.accesses) == 1


async def test_a_value_grows_old(impatient: AsyncClient, daemon: FakeDaemon) -> None:
    """A value that is no longer fresh is asked for again, watch or no watch."""
    daemon.secrets.may_watch = False
    daemon.secrets.put("a", b"one")
    handle = impatient.secrets["a"]
    assert await handle.reveal() == b"one"
    daemon.secrets.put("a", b"two")
    started = time.monotonic()
    while await handle.reveal() != b"two":
        assert time.monotonic() - started < 5


async def test_with_no_cache_nothing_is_kept_and_nothing_watched(daemon: FakeDaemon) -> None:
    """With 0 seconds every reveal is a call of its own, and fails with the daemon."""
    daemon.secrets.put("a", b"one")
    async with AsyncClient(daemon.target, timeout=5.0, reconnect=POLICY, secret_cache_seconds=0) as client:
        for _ in range(2):
            await client.secrets["a"].reveal()
        assert (len(daemon.secrets.accesses), daemon.secrets.watches) == (2, [])
        await daemon.kill()
        with pytest.raises(Unavailable):
            await client.secrets["a"].reveal()


async def test_a_rotation_drops_the_value_at_once(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """The watch tells of a new version, and the next reveal has it, however fresh the old one is."""
    await _watched(handle)
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: handle.version == 2)
    assert await handle.reveal() == b"two"


async def test_the_first_state_confirms_a_value(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A watch that begins by saying what is known already costs no second access."""
    await _watched(handle)
    await handle.reveal()
    assert len(daemon.secrets.accesses) == 1


async def test_a_value_that_a_rotation_overtook_is_not_kept(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """An answer that was under way while its secret rotated is given once, and not again."""
    await _watched(handle)
    daemon.secrets.hold_answers()
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: handle.version == 2)
    revealing = asyncio.create_task(handle.reveal())
    await eventually(lambda: len(daemon.secrets.accesses) == 2)
    daemon.secrets.put("db-password", b"three")
    await eventually(lambda: handle.version == 3)
    daemon.secrets.release_answers()
    assert await revealing == b"two"
    assert await handle.reveal() == b"three"


async def test_a_deleted_secret_is_dropped(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A deletion is news as well: what the daemon no longer gives, nobody gives."""
    await _watched(handle)
    daemon.secrets.delete("db-password")
    await eventually(lambda: handle.peek(CURRENT) is None)
    with pytest.raises(NotFound):
        await handle.reveal()


async def test_a_value_past_its_end_is_not_kept(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """The daemon says until when a value is good; after that it is asked for again."""
    daemon.secrets.expire_time_seconds = 1
    await handle.reveal()
    await handle.reveal()
    assert len(daemon.secrets.accesses) == 2


async def test_the_last_value_helps_while_the_daemon_is_away(
    impatient: AsyncClient, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that can't be reached takes no running service down, and the log says that the value is old."""
    daemon.secrets.put("a", CANARY)
    handle = impatient.secrets["a"]
    await handle.reveal()
    await daemon.kill()
    await eventually(lambda: handle.peek(CURRENT) is None)
    assert await handle.reveal() == CANARY
    assert "secrets.stale_value_given secret=default/a version=1" in caplog.text
    assert CANARY.decode() not in caplog.text


async def test_stale_values_can_be_forbidden(daemon: FakeDaemon) -> None:
    """With 0 stale seconds a daemon that is away is an error as soon as the value isn't fresh."""
    daemon.secrets.put("a", b"one")
    options = {"timeout": 5.0, "secret_cache_seconds": 0.001, "secret_stale_seconds": 0.0}
    async with AsyncClient(daemon.target, reconnect=POLICY, **options) as client:  # type: ignore[arg-type]
        await client.secrets["a"].reveal()
        await daemon.kill()
        await eventually(lambda: client.secrets["a"].peek(CURRENT) is None)
        with pytest.raises(Unavailable):
            await client.secrets["a"].reveal()


@pytest.mark.parametrize(
    ("reason", "error"), [("PERMISSION_DENIED", PermissionDenied), ("AUDIT_UNAVAILABLE", Unavailable)]
)
async def test_a_refusal_is_final(
    impatient: AsyncClient, daemon: FakeDaemon, reason: str, error: type[Exception]
) -> None:
    """What the daemon refuses is not given from memory, also not when it is its audit log that fails."""
    daemon.secrets.put("a", b"one")
    handle = impatient.secrets["a"]
    await handle.reveal()
    daemon.secrets.refuse_access = reason
    await eventually(lambda: handle.peek(CURRENT) is None)
    for _ in range(2):
        with pytest.raises(error):
            await handle.reveal()
    await daemon.kill()
    with pytest.raises(Unavailable):
        await handle.reveal()


async def test_callbacks_hear_of_rotations(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A plain function is called at each rotation from the one known on, with a handle that gives the new value."""
    await handle.reveal()
    heard: list[int] = []
    subscription = handle.on_rotate(lambda rotated: heard.append(rotated.version))
    await eventually(lambda: handle.is_live)
    assert heard == []
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: heard == [2])
    subscription.cancel()
    subscription.cancel()
    daemon.secrets.put("db-password", b"three")
    await eventually(lambda: handle.version == 3)
    assert heard == [2]


async def test_a_secret_that_is_used_later_is_known(
    client: AsyncClient, handle: AsyncSecretHandle, daemon: FakeDaemon
) -> None:
    """A namespace that is watched already tells of its other secrets too: their first rotation is heard of."""
    daemon.secrets.put("later", b"one")
    await _watched(handle)
    heard: list[int] = []
    client.secrets["later"].on_rotate(lambda rotated: heard.append(rotated.version))
    daemon.secrets.put("later", b"two")
    await eventually(lambda: heard == [2])


async def test_a_coroutine_hears_of_rotations_once_at_a_time(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A coroutine function may await the new value; rotations meanwhile make one more call, not a queue."""
    await _watched(handle)
    seen: list[bytes] = []
    going_on = asyncio.Event()

    async def reconnect(rotated: AsyncSecretHandle) -> None:
        seen.append(await rotated.reveal())
        await going_on.wait()

    handle.on_rotate(reconnect)
    for number in range(2, 6):
        daemon.secrets.put("db-password", f"{number}".encode())
        await eventually(lambda number=number: handle.version == number)  # type: ignore[misc]
    await eventually(lambda: len(seen) == 1)
    going_on.set()
    await eventually(lambda: len(seen) == 2)
    assert seen[1] == b"5"


async def test_a_callback_that_fails_hurts_nobody(
    handle: AsyncSecretHandle, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """What a callback raises is logged, plain or not, and the others are called."""
    await _watched(handle)
    heard: list[int] = []

    def fail(_: AsyncSecretHandle) -> None:
        raise RuntimeError("plain")

    async def fail_later(_: AsyncSecretHandle) -> None:
        raise RuntimeError("later")

    handle.on_rotate(fail)
    handle.on_rotate(fail_later)
    handle.on_rotate(lambda rotated: heard.append(rotated.version))
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: heard == [2] and caplog.text.count("secrets.callback_failed") == 2)


async def test_a_rotation_during_an_outage_is_heard_of(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """The watch resumes where it was, and nothing that happened meanwhile is lost."""
    await _watched(handle)
    heard: list[int] = []
    handle.on_rotate(lambda rotated: heard.append(rotated.version))
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: heard == [2])
    await daemon.kill()
    await eventually(lambda: not handle.is_live)
    daemon.secrets.put("db-password", b"three")
    await daemon.start()
    await eventually(lambda: heard == [2, 3])
    assert daemon.secrets.watches[-1].resume_token != ""


async def test_without_the_right_to_watch_the_cache_decides(impatient: AsyncClient, daemon: FakeDaemon) -> None:
    """A refused watch is no error: a rotation is noticed at the next access, and told then; later it is asked again."""
    daemon.secrets.may_watch = False
    daemon.secrets.put("a", b"one")
    handle = impatient.secrets["a"]
    heard: list[int] = []
    await handle.reveal()
    handle.on_rotate(lambda rotated: heard.append(rotated.version))
    daemon.secrets.put("a", b"two")
    await eventually(lambda: bool(daemon.secrets.watches))
    started = time.monotonic()
    while await handle.reveal() != b"two":
        assert time.monotonic() - started < 5
    assert heard == [2]
    daemon.secrets.may_watch = True
    await eventually(lambda: handle.is_live)


async def test_one_stream_for_all_namespaces(
    client: AsyncClient, handle: AsyncSecretHandle, daemon: FakeDaemon
) -> None:
    """Every namespace whose secrets are used is in the one stream."""
    daemon.secrets.put("key", b"k", namespace="billing")
    await _watched(handle)
    await _watched(client.secrets_in("billing")["key"])
    assert [list(watch.namespaces) for watch in daemon.secrets.watches] == [["default"], ["billing", "default"]]


async def test_put_and_rotate(handle: AsyncSecretHandle, daemon: FakeDaemon) -> None:
    """A write is read at once; it says what it believed, and brings a value or what makes one."""
    await handle.reveal()
    assert (await handle.put(b"two", expected_version=1)).version == 2
    assert await handle.reveal() == b"two"
    with pytest.raises(VersionMismatch):
        await handle.put(b"three", expected_version=1)
    assert (await handle.rotate(b"three")).version == 3
    assert await handle.reveal() == b"three"
    generator = secrets_pb2.Generator(uuid=secrets_pb2.UuidGenerator())
    assert (await handle.rotate(generator)).version == 4
    assert await handle.reveal() == b"generated"
    assert (await handle.metadata()).current_version == 4
    assert [version.version async for version in handle.versions(page_size=3)] == [4, 3, 2, 1]


async def test_a_handle_shows_nothing(client: AsyncClient, handle: AsyncSecretHandle) -> None:
    """Neither the handle nor what keeps the value shows it, and neither can be pickled; a copy of a handle is itself."""
    await handle.reveal()
    used = handle._used
    assert used is not None
    kept = list(used[1].values.values())
    shown = f"{handle} {handle!r} {client.secrets!r} {vars(handle)} {vars(used[1])} {kept} {kept[0]} {client.__dict__}"
    assert CANARY.decode() not in shown
    assert repr(handle) == "<AsyncSecretHandle 'db-password' in 'default'>"
    for thing in (handle, kept[0]):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(thing)
    assert copy.copy(handle) is copy.deepcopy(handle) is handle
    with pytest.raises(TypeError):
        copy.deepcopy(kept[0])


async def test_text_that_is_none_is_not_told(client: AsyncClient, daemon: FakeDaemon) -> None:
    """The error for bytes that are no text has none of them, and no context that would."""
    daemon.secrets.put("binary", b"\xff" + CANARY)
    with pytest.raises(SecretNotText) as caught:
        await client.secrets["binary"].reveal_text()
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert CANARY.decode() not in str(caught.value)


async def test_nothing_is_on_disk(daemon: FakeDaemon, tmp_path: Path) -> None:
    """A client with a cache directory keeps no secret there, nor a configuration with one in it."""
    daemon.secrets.put("db-password", CANARY)
    daemon.set("default", {"password": {"$secret": "namespaces/default/secrets/db-password"}})
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=tmp_path / "cache") as client:
        await client.secrets["db-password"].reveal()
        assert await (await client.config()).resolve("password") == CANARY.decode()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    assert all(CANARY not in path.read_bytes() for path in files)


async def test_references_in_configuration_are_resolved(client: AsyncClient, daemon: FakeDaemon) -> None:
    """A configuration's references become values on demand, and a withheld one is an error that says where."""
    daemon.secrets.put("db-password", CANARY)
    good, bad = ({"$secret": f"namespaces/default/secrets/{name}"} for name in ("db-password", "other"))
    daemon.set("default", {"good": good, "bad": bad, "n": 1})
    view = await client.config()
    assert view["good"] == good
    assert await view.resolve("good") == CANARY.decode()
    with pytest.raises(SecretWithheld) as caught:
        await view.resolve()
    assert caught.value.reasons == {"/bad": "not allowed"}


@pytest.mark.parametrize("name", ["", "a/b", "..", "a..b", "-a", "a-", "a\x00", "é", "a" * 129, "a\n"])
async def test_a_bad_name_is_refused_here(client: AsyncClient, name: str) -> None:
    """A name that no secret or namespace can have raises Invalid before anything is sent."""
    with pytest.raises(Invalid):
        client.secrets[name]
    with pytest.raises(Invalid):
        client.secrets_in(name + "/")


async def test_after_close_nothing_is_left(handle: AsyncSecretHandle, client: AsyncClient, daemon: FakeDaemon) -> None:
    """Closing forgets the values, interrupts a callback, and makes every call raise."""
    await _watched(handle)
    interrupted = asyncio.Event()

    async def never_done(_: AsyncSecretHandle) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()

    handle.on_rotate(never_done)
    daemon.secrets.put("db-password", b"two")
    await eventually(lambda: handle.version == 2)
    await asyncio.sleep(0)
    used = handle._used
    assert used is not None
    await client.close()
    assert interrupted.is_set()
    assert used[1].values == {}
    with pytest.raises(ClientClosed):
        await handle.reveal()
    with pytest.raises(ClientClosed):
        handle.on_rotate(lambda _: None)


async def test_a_value_leaves_the_memory(daemon: FakeDaemon) -> None:
    """A value that nobody asks for again is forgotten once it is too old to help."""
    daemon.secrets.put("a", b"one")
    options = {"timeout": 5.0, "secret_cache_seconds": 0.01, "secret_stale_seconds": 0.01}
    async with AsyncClient(daemon.target, reconnect=POLICY, **options) as client:  # type: ignore[arg-type]
        handle = client.secrets["a"]
        await handle.reveal()
        used = handle._used
        assert used is not None
        await eventually(lambda: used[1].values == {})


async def test_nothing_of_a_value_is_logged(
    handle: AsyncSecretHandle, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """At every level the library's log has no values."""
    caplog.set_level(logging.DEBUG)
    await _watched(handle)
    daemon.secrets.put("db-password", CANARY + b"2")
    await eventually(lambda: handle.version == 2)
    await handle.reveal()
    await daemon.kill()
    await eventually(lambda: not handle.is_live)
    assert CANARY.decode() not in caplog.text
