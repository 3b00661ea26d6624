"""Tokens on calls and watches: over real gRPC, with grpc and grpc.aio."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from client.conftest import POLICY
from client.guarded_daemon import FakeAuthSocket, GuardedDaemon, auth_socket
from client.waiting import eventually
from vestry import AsyncClient, Client, Unauthenticated, Unavailable, connect
from vestry.channel import connect_async
from vestry.credentials import choose
from vestry.v1 import config_pb2, config_pb2_grpc

STATUS = config_pb2.GetConfigStatusRequest(namespace="default")
WATCH = config_pb2.WatchConfigRequest(namespaces=["default"])
PATIENCE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer has set out of the tests."""
    for name in ("VESTRY_TOKEN", "VESTRY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def daemon(target: str) -> AsyncIterator[GuardedDaemon]:
    """A daemon that takes the token `good`, and serves `default` and `billing`."""
    daemon = GuardedDaemon(target, good={"good"})
    daemon.set("default", {"a": 1})
    daemon.set("billing", {"b": 1})
    await daemon.start()
    yield daemon
    daemon.wake()
    await daemon.kill()


@pytest.fixture
async def auth(daemon: GuardedDaemon) -> AsyncIterator[FakeAuthSocket]:
    """The daemon's auth socket."""
    async with auth_socket(daemon.target, daemon) as fake:
        yield fake


@asynccontextmanager
async def stub_of(target: str, token: str | None = None) -> AsyncIterator[config_pb2_grpc.ConfigServiceAsyncStub]:
    """Return an asynchronous stub on a channel of the library."""
    async with connect_async(target, credentials=choose(target, token)) as channel:
        yield config_pb2_grpc.ConfigServiceStub(channel)


def version_here(target: str, token: str | None = None) -> int:
    """Make one synchronous call, and return its answer."""
    with connect(target, token=token) as channel:
        return config_pb2_grpc.ConfigServiceStub(channel).GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS).version


class TestUnary:
    """Calls with one answer."""

    async def test_each_brings_the_token(self, daemon: GuardedDaemon) -> None:
        """Of grpc and of grpc.aio alike."""
        assert await asyncio.to_thread(version_here, daemon.target, "good") == 1
        async with stub_of(daemon.target, "good") as stub:
            assert (await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)).version == 1
            assert (await stub.GetConfigStatus(STATUS)).version == 1
        assert daemon.seen == ["Bearer good"] * 3

    async def test_the_auth_socket_is_asked_once(self, daemon: GuardedDaemon, auth: FakeAuthSocket) -> None:
        """One token serves many calls."""
        async with stub_of(daemon.target) as stub:
            await asyncio.gather(*(stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS) for _ in range(10)))
        assert (auth.given, daemon.seen) == (1, ["Bearer vestryl_1"] * 10)

    async def test_a_token_that_the_daemon_forgot_is_replaced(
        self, daemon: GuardedDaemon, auth: FakeAuthSocket
    ) -> None:
        """The call is made once more, and its caller notices nothing; so after each restart of the daemon."""

        def ask_twice() -> None:
            with connect(daemon.target) as channel:
                stub = config_pb2_grpc.ConfigServiceStub(channel)
                stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
                daemon.good.clear()
                stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)

        await asyncio.to_thread(ask_twice)
        assert daemon.seen == [f"Bearer vestryl_{number}" for number in (1, 1, 2)]
        async with stub_of(daemon.target) as stub:
            await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
            daemon.good.clear()
            await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
        assert daemon.seen[3:] == [f"Bearer vestryl_{number}" for number in (3, 3, 4)]

    async def test_a_second_refusal_is_final(self, daemon: GuardedDaemon) -> None:
        """A daemon that takes none of its own tokens is not asked without end."""
        async with auth_socket(daemon.target), stub_of(daemon.target) as stub:
            with pytest.raises(grpc.RpcError):
                await asyncio.to_thread(version_here, daemon.target)
            assert daemon.seen == ["Bearer vestryl_1", "Bearer vestryl_2"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert daemon.seen[2:] == ["Bearer vestryl_3", "Bearer vestryl_4"]

    async def test_a_token_that_can_not_be_replaced_is_sent_once(self, daemon: GuardedDaemon) -> None:
        """So is the lack of one."""
        for token in ("wrong", None):
            with pytest.raises(grpc.RpcError):
                await asyncio.to_thread(version_here, daemon.target, token)
            async with stub_of(daemon.target, token) as stub:
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
        assert daemon.seen == ["Bearer wrong"] * 2 + [""] * 2

    async def test_a_callers_own_credential_counts(self, daemon: GuardedDaemon, auth: FakeAuthSocket) -> None:
        """Nothing is added to it; other metadata stays."""
        metadata = (("authorization", "Bearer good"), ("x-request-id", "r-1"))
        async with stub_of(daemon.target) as stub:
            await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS, metadata=metadata)

        def ask() -> None:
            with connect(daemon.target) as channel:
                stub = config_pb2_grpc.ConfigServiceStub(channel)
                stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS, metadata=metadata)

        await asyncio.to_thread(ask)
        assert daemon.seen == ["Bearer good"] * 2

    async def test_what_grpc_repeats_brings_the_token_too(self, daemon: GuardedDaemon) -> None:
        """Its own retries go on beneath."""
        daemon.away = 1
        async with stub_of(daemon.target, "good") as stub:
            assert (await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)).version == 1
        daemon.away = 1
        assert await asyncio.to_thread(version_here, daemon.target, "good") == 1
        assert daemon.seen == ["Bearer good"] * 4

    async def test_cancelling_a_call_reaches_the_daemon(self, daemon: GuardedDaemon) -> None:
        """Although an interceptor waits in between."""
        daemon.hang()
        async with stub_of(daemon.target, "good") as stub:

            async def ask() -> None:
                await stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)

            task = asyncio.create_task(ask())
            await eventually(lambda: bool(daemon.seen))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await asyncio.wait_for(daemon.cancelled.wait(), PATIENCE_SECONDS)

    async def test_a_deadline_holds(self, daemon: GuardedDaemon) -> None:
        """Also when the auth socket takes up all of it."""
        daemon.hang()
        async with stub_of(daemon.target, "good") as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetConfigStatus(STATUS, timeout=0.1)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with auth_socket(daemon.target, is_hanging=True), stub_of(daemon.target) as stub:
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="doesn't answer"):
                await stub.GetConfigStatus(STATUS, timeout=0.1)
            assert time.monotonic() - begun < PATIENCE_SECONDS / 2

    async def test_a_future_is_not_waited_for(self, daemon: GuardedDaemon) -> None:
        """It comes back at once, while the daemon thinks."""
        daemon.hang()

        def ask() -> int:
            with connect(daemon.target, token="good") as channel:
                future = config_pb2_grpc.ConfigServiceStub(channel).GetConfigStatus.future(
                    STATUS, timeout=PATIENCE_SECONDS
                )
                assert not future.done()
                loop.call_soon_threadsafe(daemon.wake)
                return future.result().version

        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(ask) == 1


class TestStreams:
    """Calls with many answers."""

    async def test_each_brings_the_token(self, daemon: GuardedDaemon) -> None:
        """Of grpc and of grpc.aio alike; ending them early is nothing special."""

        def first_here() -> int:
            with connect(daemon.target, token="good") as channel:
                call = config_pb2_grpc.ConfigServiceStub(channel).WatchConfig(WATCH)
                version = next(iter(call)).update.version
                call.cancel()
                return version

        assert await asyncio.to_thread(first_here) == 1
        async with stub_of(daemon.target, "good") as stub:
            call = stub.WatchConfig(WATCH)
            async for message in call:
                assert message.update.version == 1
                break
            call.cancel()
        assert daemon.seen == ["Bearer good"] * 2

    async def test_one_that_is_refused_gets_another_token_next_time(
        self, daemon: GuardedDaemon, auth: FakeAuthSocket
    ) -> None:
        """Whoever opens it again does so with a token that is good."""

        def watch() -> None:
            with connect(daemon.target) as channel:
                stub = config_pb2_grpc.ConfigServiceStub(channel)
                stub.GetConfigStatus(STATUS, timeout=PATIENCE_SECONDS)
                daemon.good.clear()
                with pytest.raises(grpc.RpcError):
                    next(iter(stub.WatchConfig(WATCH)))
                call = stub.WatchConfig(WATCH)
                assert next(iter(call)).update.version == 1
                call.cancel()

        await asyncio.to_thread(watch)
        assert daemon.seen == [f"Bearer vestryl_{number}" for number in (1, 1, 2)]


class TestWatch:
    """The watch that feeds a client's views."""

    async def test_it_outlives_the_daemon_and_its_tokens(self, daemon: GuardedDaemon, auth: FakeAuthSocket) -> None:
        """A daemon that starts again knows no token: the view is live again by itself, and was never refused."""
        async with AsyncClient(daemon.target, timeout=PATIENCE_SECONDS, reconnect=POLICY) as client:
            view = await client.config()
            await client.config("billing")
            await daemon.kill()
            daemon.good.clear()
            daemon.set("default", {"a": 2})
            await daemon.start()
            await eventually(lambda: view.is_live and view["a"] == 2)
            assert view.live.refusal is None
            assert (await view.status()).version == 2

    async def test_a_token_that_ends_is_replaced_in_silence(
        self, daemon: GuardedDaemon, auth: FakeAuthSocket, caplog: pytest.LogCaptureFixture
    ) -> None:
        """That is how tokens are: no warning, and the view goes on where it was."""
        caplog.set_level(logging.INFO)
        async with AsyncClient(daemon.target, timeout=PATIENCE_SECONDS, reconnect=POLICY) as client:
            view = await client.config()
            await eventually(lambda: view.is_live)
            await eventually(lambda: bool(client._session and client._session._config_watch._token))
            daemon.end("vestryl_1")
            await eventually(lambda: len(daemon.watches) == 2)
            daemon.set("default", {"a": 2})
            await eventually(lambda: view["a"] == 2)
            assert view.is_live
        assert daemon.watches[1].resume_token
        assert [record.levelname for record in caplog.records if record.name.startswith("vestry")] == ["INFO"]
        assert "vestryl_" not in caplog.text

    @pytest.mark.parametrize("has_auth_socket", [True, False])
    async def test_a_caller_that_is_not_taken_is_told(self, daemon: GuardedDaemon, *, has_auth_socket: bool) -> None:
        """Whether its tokens are refused or it has none, after one more try."""
        async with AsyncClient(daemon.target, timeout=PATIENCE_SECONDS, reconnect=POLICY) as client:
            if has_auth_socket:
                async with auth_socket(daemon.target):
                    with pytest.raises(Unauthenticated):
                        await client.config()
            else:
                with pytest.raises(Unauthenticated):
                    await client.config()
        assert len(daemon.seen) == 2

    async def test_a_token_that_was_revoked_leaves_every_view_as_it_is(self, daemon: GuardedDaemon) -> None:
        """They stand still and say why, and come back when the daemon takes the token again."""
        async with AsyncClient(daemon.target, token="good", timeout=PATIENCE_SECONDS, reconnect=POLICY) as client:
            views = [await client.config(), await client.config("billing")]
            daemon.end("good")
            await eventually(lambda: all(isinstance(view.live.refusal, Unauthenticated) for view in views))
            assert [view.document for view in views] == [{"a": 1}, {"b": 1}]
            daemon.good.add("good")
            await eventually(lambda: all(view.is_live for view in views))

    async def test_an_auth_socket_that_does_not_answer_is_waited_for(
        self, daemon: GuardedDaemon, auth: FakeAuthSocket
    ) -> None:
        """It is a passing failure."""
        auth.answer = b""
        async with AsyncClient(daemon.target, timeout=PATIENCE_SECONDS, reconnect=POLICY) as client:
            asking = asyncio.create_task(client.config())
            await eventually(lambda: bool(client._session and client._session._config_watch._failures > 1))
            auth.answer = None
            assert (await asking)["a"] == 1

    async def test_threads_are_served_alike(self, daemon: GuardedDaemon, auth: FakeAuthSocket) -> None:
        """The client for threads takes a token, or has the auth socket's."""

        def read(make: Callable[[], Client]) -> object:
            with make() as client:
                return client.config().status().version

        makers = (
            lambda: Client(daemon.target, timeout=PATIENCE_SECONDS),
            lambda: Client(daemon.target, token="good", timeout=PATIENCE_SECONDS),
        )
        assert [await asyncio.to_thread(read, make) for make in makers] == [1, 1]
        assert set(daemon.seen) == {"Bearer vestryl_1", "Bearer good"}
