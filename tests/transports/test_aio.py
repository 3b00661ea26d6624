from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Awaitable
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from transports.wire import (
    GET,
    MAX_REQUEST_BYTES,
    PATIENCE_SECONDS,
    UPDATE,
    WATCH,
    Handlers,
    eventually,
    failure_of,
    server_of,
    serving,
    stream,
    unary,
    until_idle,
)
from vestry.v1 import config_pb2 as pb
from vestryd.domain.errors import AddressUnusable
from vestryd.transports.aio import STATUS_DETAILS, UnixSocket

REQUEST = pb.GetConfigRequest(namespace="billing").SerializeToString()


class TestCalls:
    """What crosses the wire."""

    async def test_metadata_crosses_both_ways(self) -> None:
        """The handler sees the caller's, text and bytes; the caller gets what the handler and the pipeline add."""
        async with serving() as served, served.channel() as channel:
            call = unary(channel, GET, REQUEST, metadata=(("x-request-id", "id-1"), ("x-raw-bin", b"\0\1")))
            assert pb.GetConfigResponse.FromString(await call).namespace == "billing"
            trailing = dict(await call.trailing_metadata() or ())
            assert (trailing["x-request-id"], trailing["x-answer"]) == ("id-1", "yes")
            (seen,) = served.handlers.calls
            assert (seen.metadata["x-raw-bin"], seen.request_id) == (b"\0\1", "id-1")
            assert seen.caller.address == ip_address("127.0.0.1")

    async def test_of_two_values_of_a_name_none_is_chosen(self) -> None:
        """They are one value, as in HTTP: who adds a credential to a call neither replaces the first nor is overruled."""
        async with serving() as served, served.channel() as channel:
            metadata = (("authorization", "Bearer a"), ("authorization", "Bearer b"), ("x-other", "c"))
            await unary(channel, GET, REQUEST, metadata=metadata)
            (seen,) = served.handlers.calls
            assert seen.metadata["authorization"] == "Bearer a, Bearer b"
            assert seen.metadata["x-other"] == "c"

    async def test_a_failure_carries_its_details(self) -> None:
        """The status in the trailing metadata says what code and message say, and why."""
        async with serving() as served, served.channel() as channel:
            error = await failure_of(unary(channel, GET, b"\xff\xff"))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            details = dict(error.trailing_metadata() or ())
            status, info = Status.FromString(_bytes(details[STATUS_DETAILS])), ErrorInfo()
            assert status.details[0].Unpack(info)
            assert (status.message, info.reason) == (error.details(), "INVALID_FIELD")
            assert details["x-request-id"]

    async def test_a_stream_fails_with_details_too(self) -> None:
        """Before its first message here."""
        async with serving() as served, served.channel() as channel:
            error = await failure_of(stream(channel, WATCH, b"\xff\xff").read())
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert STATUS_DETAILS in dict(error.trailing_metadata() or ())

    async def test_the_callers_deadline_reaches_the_handler(self) -> None:
        """It is what remains of it; without one it is the default."""
        async with serving() as served, served.channel() as channel:
            for timeout in (5.0, None):
                await unary(channel, GET, REQUEST, timeout=timeout)
            with_deadline, without = served.handlers.calls
            assert 0 < with_deadline.timeout_seconds < PATIENCE_SECONDS - 1
            assert without.timeout_seconds == PATIENCE_SECONDS

    async def test_a_call_over_its_deadline_is_cancelled(self) -> None:
        """The handler stops working for nobody."""
        async with serving() as served, served.channel() as channel:
            error = await failure_of(unary(channel, UPDATE, b"", timeout=0.1))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(served.handlers.cancelled)

    async def test_a_client_that_cancels_a_call_is_heard(self) -> None:
        """The handler is cancelled, and nothing stays in flight."""
        async with serving() as served, served.channel() as channel:
            call = unary(channel, UPDATE, b"")
            await eventually(served.handlers.started)
            call.cancel()
            await eventually(served.handlers.cancelled)
            figures = served.routes[UPDATE].figures
            await until_idle(figures)
            assert (figures.calls, figures.failures) == (1, 0)

    async def test_a_client_that_cancels_a_stream_is_heard(self) -> None:
        """The handler is closed, wherever it is, and nothing stays in flight."""
        async with serving() as served, served.channel() as channel:
            call = stream(channel, WATCH, pb.WatchConfigRequest(resume_token="once").SerializeToString())
            await call.read()
            call.cancel()
            await eventually(served.handlers.cancelled)
            figures = served.routes[WATCH].figures
            await until_idle(figures)
            assert (figures.calls, figures.failures) == (1, 0)

    async def test_a_reader_that_stops_reading_holds_the_stream_up(self) -> None:
        """What is written without being read is bounded by the peer's window, not by memory."""
        async with serving() as served, served.channel() as channel:
            call = stream(channel, WATCH, b"")
            await call.read()
            before = -1
            while before < served.handlers.written:
                before = served.handlers.written
                await asyncio.sleep(0.1)
            assert served.handlers.written < 200
            await unary(channel, GET, REQUEST)  # and nobody else is held up
            call.cancel()
            await eventually(served.handlers.cancelled)

    async def test_a_message_over_the_limit_is_refused(self) -> None:
        """By gRPC itself, and the handler never sees it."""
        async with serving() as served, served.channel() as channel:
            request = pb.GetConfigRequest(namespace="x" * MAX_REQUEST_BYTES).SerializeToString()
            error = await failure_of(unary(channel, GET, request))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert served.handlers.calls == []

    @pytest.mark.parametrize("path", ["/vestry.v1.ConfigService/Nothing", "/other.Service/GetConfig", "/x"])
    async def test_an_unknown_method_is_unimplemented(self, path: str) -> None:
        """By gRPC itself."""
        async with serving() as served, served.channel() as channel:
            error = await failure_of(unary(channel, path, REQUEST))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED


class TestTheUnixSocket:
    """Who may take which socket."""

    async def test_it_has_its_mode_and_goes_with_the_server(self, tmp_path: Path) -> None:
        """Callers over it are told apart from those over TCP."""
        path = tmp_path / "v.sock"
        async with serving(unix=UnixSocket(path, 0o660, "")) as served:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert served.server.listeners[0] == f"unix:{path}"
            async with served.channel() as channel:
                await unary(channel, GET, REQUEST)
            assert [call.caller.address for call in served.handlers.calls] == [None]
        assert not path.exists()

    async def test_a_stale_socket_is_replaced(self, tmp_path: Path) -> None:
        """A daemon that was killed left it behind."""
        path = tmp_path / "v.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with serving(unix=UnixSocket(path, 0o600, "")) as served, served.channel() as channel:
            await unary(channel, GET, REQUEST)

    async def test_a_file_is_no_socket(self, tmp_path: Path) -> None:
        """It is refused, and it stays, also when the failed server is stopped."""
        path = tmp_path / "v.sock"
        path.write_text("precious")
        server, _ = server_of(Handlers(), unix=UnixSocket(path, 0o600, ""))
        with pytest.raises(AddressUnusable, match="not a socket"):
            await server.start()
        await server.stop(0)
        assert path.read_text() == "precious"

    async def test_a_live_socket_is_refused(self, tmp_path: Path) -> None:
        """Its owner goes on serving there, also after the failed server is stopped."""
        path = tmp_path / "v.sock"
        unix = UnixSocket(path, 0o600, "")
        async with serving(unix=unix) as served:
            server, _ = server_of(Handlers(), unix=unix)
            with pytest.raises(AddressUnusable, match="another process serves there"):
                await server.start()
            await server.stop(0)
            async with served.channel() as channel:
                await unary(channel, GET, REQUEST)

    @pytest.mark.parametrize(
        ("name", "reason"), [("nowhere/v.sock", "doesn't exist"), ("x" * 120, "longer than 107 bytes")]
    )
    async def test_a_place_that_cannot_be_is_refused_with_the_reason(
        self, tmp_path: Path, name: str, reason: str
    ) -> None:
        """The address and what is wrong with it."""
        server, _ = server_of(Handlers(), unix=UnixSocket(tmp_path / name, 0o600, ""))
        with pytest.raises(AddressUnusable, match=reason):
            await server.start()
        await server.stop(0)

    async def test_a_group_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """A socket that nobody could reach would be worse."""
        server, _ = server_of(Handlers(), unix=UnixSocket(tmp_path / "v.sock", 0o660, "no-such-group"))
        with pytest.raises(AddressUnusable, match="group"):
            await server.start()
        await server.stop(0)
        assert list(tmp_path.iterdir()) == []


class TestTcp:
    """Ports."""

    async def test_the_kernel_may_choose_the_port(self) -> None:
        """The listener tells which it is."""
        async with serving(tcp="127.0.0.1:0") as served:
            host, _, port = served.server.listeners[0].rpartition(":")
            assert host == "127.0.0.1"
            assert int(port) > 0

    async def test_a_port_that_is_taken_is_refused_with_the_reason(self) -> None:
        """It is not shared in silence."""
        async with serving() as served:
            server, _ = server_of(Handlers(), tcp=served.server.listeners[0])
            with pytest.raises(AddressUnusable, match="Address already in use"):
                await server.start()
            await server.stop(0)


class TestTheLife:
    """From `start` to `stop`."""

    async def test_health_says_serving_once_it_is_ready(self) -> None:
        """For the server and for each service."""
        server, _ = server_of(Handlers(), tcp="127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(server.listeners[0]) as channel:
            health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            for expected in (health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING):
                for service in ("", "vestry.v1.ConfigService"):
                    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                    assert answer.status == expected
                server.ready()
        await server.stop(0)

    async def test_health_is_listed(self) -> None:
        """Every service with its status, in one call."""
        async with serving() as served, served.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            listed = await health.List(health_pb2.HealthListRequest())
            assert set(listed.statuses) == {"", "vestry.v1.ConfigService"}

    async def test_health_watchers_hear_of_the_end_and_hold_nothing_up(self) -> None:
        """Each is told NOT_SERVING, and ends; one that doesn't read delays nobody."""
        async with serving() as served, served.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            watch = health.Watch(health_pb2.HealthCheckRequest())
            stuck = health.Watch(health_pb2.HealthCheckRequest())
            unknown = health.Watch(health_pb2.HealthCheckRequest(service="nobody"))
            assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            async with asyncio.timeout(PATIENCE_SECONDS / 2):
                await served.server.stop(PATIENCE_SECONDS)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await watch.code() is grpc.StatusCode.UNAVAILABLE
            stuck.cancel()

    async def test_stopping_lets_calls_end(self) -> None:
        """Those under way within the grace; new ones are refused."""
        async with serving() as served, served.channel() as channel:
            update = unary(channel, UPDATE, b"")
            coming = asyncio.ensure_future(_answer(update))
            await eventually(served.handlers.started)
            stopping = asyncio.create_task(served.server.stop(PATIENCE_SECONDS))
            assert (await asyncio.wait([stopping], timeout=0.05))[1] == {stopping}
            served.handlers.go.set()
            assert (await coming).version == 7
            await asyncio.wait_for(stopping, PATIENCE_SECONDS)
            error = await failure_of(unary(channel, GET, REQUEST))
            assert error.code() is grpc.StatusCode.UNAVAILABLE

    async def test_stopping_cuts_off_who_does_not_end(self) -> None:
        """Their handlers are cancelled when the grace is over."""
        async with serving() as served, served.channel() as channel:
            call = unary(channel, UPDATE, b"")
            coming = asyncio.ensure_future(failure_of(call))
            await eventually(served.handlers.started)
            await asyncio.wait_for(served.server.stop(0.05), PATIENCE_SECONDS)
            await eventually(served.handlers.cancelled)
            assert (await coming).code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def _answer(call: Awaitable[bytes]) -> pb.UpdateConfigResponse:
    return pb.UpdateConfigResponse.FromString(await call)


def _bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


class TestTheDoor:
    """Streams whose callers lose their right to them."""

    async def test_a_watch_ends_with_a_status(self) -> None:
        """Of the class of what was lost, within a second and unasked."""
        async with serving() as served, served.channel() as channel:
            call = stream(channel, WATCH, b"")
            await call.read()
            served.callers.is_ended = True
            served.handlers.go.set()
            error = await failure_of(_read_on(call))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert STATUS_DETAILS in dict(error.trailing_metadata() or ())

    async def test_a_reader_that_has_stopped_is_cut_off_too(self) -> None:
        """Though nothing can be sent to it any more: the handler ends, and the call is over."""
        async with serving() as served, served.channel() as channel:
            call = stream(channel, WATCH, b"")
            await eventually(served.handlers.started)
            while True:  # until its window is full
                written = served.handlers.written
                await asyncio.sleep(0.05)
                if written == served.handlers.written:
                    break
            served.callers.is_ended = True
            await eventually(served.handlers.cancelled)
            await until_idle(served.routes[WATCH].figures)
            call.cancel()


async def _read_on(call: aio.UnaryStreamCall[bytes, bytes]) -> None:
    while await call.read():
        pass
