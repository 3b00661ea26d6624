from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import pytest
from google.rpc.code_pb2 import Code
from structlog.testing import capture_logs

from callers import Door, KnownCallers
from vestry.v1 import config_pb2 as pb
from vestryd.domain.errors import Compacted, DocumentNotFound, ShuttingDown, StoreUnavailable
from vestryd.services.call import Authenticator, Call, Peer
from vestryd.services.methods import Kind, Method
from vestryd.services.pipeline import CallFailed, Handler, Pipeline, Reply, Route, bind

REQUEST = pb.GetConfigRequest(namespace="billing", pointer="/hush").SerializeToString()
ANSWER = pb.GetConfigResponse(namespace="billing", value=b'"hush"')
SECRET = "hush"


def route_of(handler: Handler, kind: Kind = Kind.UNARY) -> Route:
    """Return a route to `handler`, which takes a GetConfigRequest."""
    method = Method(
        path="/vestry.v1.ConfigService/GetConfig",
        service="vestry.v1.ConfigService",
        name="GetConfig",
        handler="get_config",
        kind=kind,
        request=pb.GetConfigRequest,
        response=pb.GetConfigResponse,
        action="config.read",
        resources=lambda request: (f"namespaces/{request.namespace}/config",),  # type: ignore[attr-defined]
        shapes=frozenset({"namespaces/*/config"}),
        is_pure_read=True,
        is_for_any_caller=False,
    )
    return Route(method, handler)


@dataclass
class Line:
    """A call through the pipeline, with nothing around it."""

    route: Route
    pipeline: Pipeline
    call: Call

    def answer(self, data: bytes = REQUEST) -> Reply | Awaitable[Reply]:
        """Answer a unary call."""
        return self.pipeline.unary(self.route, data, self.call)

    async def reply(self, data: bytes = REQUEST) -> Reply:
        """Answer a unary call, and wait when it has to."""
        answer = self.answer(data)
        return await answer if isawaitable(answer) else answer

    @property
    def counts(self) -> tuple[int, int, int]:
        """The calls, failures and calls in flight of the route."""
        return self.route.figures.calls, self.route.figures.failures, self.route.figures.in_flight


def begun(
    handler: Handler,
    *,
    kind: Kind = Kind.UNARY,
    timeout_seconds: float | None = None,
    callers: Authenticator | None = None,
    door: Door | None = None,
    **metadata: str | bytes,
) -> Line:
    """Return a call that has just begun."""
    route = route_of(handler, kind)
    pipeline = Pipeline(
        {route.method.path: route},
        authenticator=callers or KnownCallers(),
        guard=door or Door(),
        default_deadline_seconds=30,
    )
    given = {name.replace("_", "-"): value for name, value in metadata.items()}
    call = pipeline.begin(route, peer=Peer(), metadata=given, timeout_seconds=timeout_seconds)
    return Line(route, pipeline, call)


def plain(_request: Any, _call: Call) -> pb.GetConfigResponse:
    """Answer at once."""
    return ANSWER


async def waiting(_request: Any, _call: Call) -> pb.GetConfigResponse:
    """Answer after a wait."""
    await asyncio.sleep(0)
    return ANSWER


def waiting_after_all(request: Any, call: Call) -> Awaitable[pb.GetConfigResponse]:
    """Find that it takes a wait."""
    return waiting(request, call)


async def stuck(_request: Any, _call: Call) -> pb.GetConfigResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return ANSWER


class TestTheCall:
    """What a handler and the wire get to know of a call."""

    def test_the_callers_request_id_is_kept(self) -> None:
        """It goes back in the trailing metadata."""
        call = begun(plain, x_request_id="abc-123").call
        assert (call.request_id, call.trailing) == ("abc-123", [("x-request-id", "abc-123")])

    @pytest.mark.parametrize("theirs", ["", "two\nlines", "ünicode", "x" * 129, b"bytes"])
    def test_a_request_id_that_cannot_stand_in_a_log_line_is_replaced(self, theirs: str | bytes) -> None:
        """So is an absent one; ours are 16 hexadecimal digits."""
        found = {begun(plain, x_request_id=theirs).call.request_id, begun(plain).call.request_id}
        assert len(found) == 2
        assert all(len(one) == 16 and int(one, 16) >= 0 for one in found)

    def test_the_callers_deadline_holds_and_else_our_own(self) -> None:
        """30 seconds here."""
        assert begun(plain, timeout_seconds=2.5).call.timeout_seconds == 2.5
        assert begun(plain).call.timeout_seconds == 30
        assert 0 < begun(plain).call.remaining() <= 30


class TestUnary:
    """Calls with one answer."""

    def test_a_plain_handler_is_answered_without_awaiting(self) -> None:
        """No loop is needed for a read that is answered from memory."""
        line = begun(plain)
        assert line.answer() == Reply(ANSWER.SerializeToString())
        assert line.counts == (1, 0, 0)

    async def test_an_async_handler_is_waited_for(self) -> None:
        """It is in flight meanwhile."""
        line = begun(waiting)
        answer = line.answer()
        assert line.counts == (0, 0, 1)
        assert isawaitable(answer)
        assert await answer == Reply(ANSWER.SerializeToString())
        assert line.counts == (1, 0, 0)

    async def test_a_plain_handler_may_have_to_wait_after_all(self) -> None:
        """It returns an awaitable then."""
        assert (await begun(waiting_after_all).reply()).failure is None

    async def test_a_call_over_its_deadline_fails(self) -> None:
        """The caller learns which deadline it was."""
        line = begun(stuck, timeout_seconds=0.01)
        failure = (await line.reply()).failure
        assert failure is not None
        assert (failure.code, failure.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "0.01 s" in failure.message
        assert line.counts == (1, 1, 0)

    async def test_a_deadline_that_is_over_already_fails_as_well(self) -> None:
        """A call can spend its time on the way."""
        failure = (await begun(stuck, timeout_seconds=-1).reply()).failure
        assert failure is not None
        assert failure.reason == "DEADLINE_EXCEEDED"

    async def test_a_timeout_inside_of_a_handler_is_not_the_calls_deadline(self) -> None:
        """It is a defect: nobody translated it."""

        async def impatient(_request: Any, _call: Call) -> None:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

        failure = (await begun(impatient).reply()).failure
        assert failure is not None
        assert failure.reason == "INTERNAL"

    @pytest.mark.parametrize("wait", [False, True])
    async def test_domain_errors_go_through_the_table(self, wait: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """Plain and async handlers alike."""

        def missing(_request: Any, _call: Call) -> pb.GetConfigResponse:
            raise DocumentNotFound("config", "billing")

        async def missing_later(request: Any, call: Call) -> pb.GetConfigResponse:
            return missing(request, call)

        line = begun(missing_later if wait else missing)
        failure = (await line.reply()).failure
        assert failure is not None
        assert (failure.code, failure.reason) == (Code.NOT_FOUND, "DOCUMENT_NOT_FOUND")
        assert line.counts == (1, 1, 0)

    def test_bytes_that_are_no_message_are_the_callers_fault(self) -> None:
        """INVALID_FIELD, and the handler is not asked."""
        line = begun(stuck)
        reply = line.answer(b"\xff\xff")
        assert isinstance(reply, Reply)
        assert reply.failure is not None
        assert reply.failure.reason == "INVALID_FIELD"
        assert "vestry.v1.GetConfigRequest" in reply.failure.message
        assert line.counts == (1, 1, 0)

    @pytest.mark.parametrize("error", [RuntimeError(SECRET), Compacted(1, 2)], ids=["crash", "not for the wire"])
    async def test_a_crash_tells_the_log_and_not_the_caller(self, error: Exception) -> None:
        """The caller gets the request's id, under which the log has the traceback."""

        def crash(_request: Any, _call: Call) -> None:
            raise error

        line = begun(crash, x_request_id="id-1")
        with capture_logs() as logs:
            failure = (await line.reply()).failure
        assert failure is not None
        assert (failure.code, failure.reason) == (Code.INTERNAL, "INTERNAL")
        assert "id-1" in failure.message
        assert SECRET not in failure.message
        assert logs[0]["exc_info"] is error
        assert [(one["event"], one["log_level"], one["request_id"]) for one in logs] == [
            ("request.crashed", "error", "id-1"),
            ("request", "info", "id-1"),
        ]
        assert line.counts == (1, 1, 0)

    async def test_a_caller_that_goes_away_is_counted(self) -> None:
        """Its call is over, and no failure of anybody; the cancellation goes on."""
        line = begun(stuck)
        task = asyncio.ensure_future(line.reply())
        await asyncio.sleep(0)
        with capture_logs() as logs:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [one["code"] for one in logs] == ["CANCELLED"]
        assert line.counts == (1, 0, 0)


class TestStreams:
    """Calls with many answers."""

    async def test_messages_and_bytes_go_out_alike(self) -> None:
        """A handler that encoded an event once hands the bytes over as they are."""

        async def handler(_request: Any, _call: Call) -> AsyncIterator[Any]:
            yield ANSWER
            yield b"as it is"

        line = begun(handler, kind=Kind.STREAM)
        bodies = [body async for body in line.pipeline.stream(line.route, REQUEST, line.call)]
        assert bodies == [ANSWER.SerializeToString(), b"as it is"]
        assert line.counts == (1, 0, 0)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ShuttingDown(), "SHUTTING_DOWN"),
            (StoreUnavailable("full"), "STORE_UNAVAILABLE"),
            (KeyError(SECRET), "INTERNAL"),
        ],
    )
    async def test_a_stream_that_fails_says_why(self, error: Exception, reason: str) -> None:
        """What was said before is said; then comes the failure."""

        async def handler(_request: Any, _call: Call) -> AsyncIterator[Any]:
            yield ANSWER
            raise error

        line = begun(handler, kind=Kind.STREAM)
        stream = line.pipeline.stream(line.route, REQUEST, line.call)
        assert await anext(stream) == ANSWER.SerializeToString()
        with pytest.raises(CallFailed) as caught:
            await anext(stream)
        assert caught.value.failure.reason == reason
        assert SECRET not in caught.value.failure.message
        assert line.counts == (1, 1, 0)

    async def test_a_stream_can_fail_before_its_first_message(self) -> None:
        """A handler may refuse by raising when it is called, and bytes may be no message."""

        def handler(_request: Any, _call: Call) -> AsyncIterator[Any]:
            raise DocumentNotFound("config", "x")

        for data, reason in ((REQUEST, "DOCUMENT_NOT_FOUND"), (b"\xff\xff", "INVALID_FIELD")):
            line = begun(handler, kind=Kind.STREAM)
            with pytest.raises(CallFailed) as caught:
                await anext(line.pipeline.stream(line.route, data, line.call))
            assert caught.value.failure.reason == reason
            assert line.counts == (1, 1, 0)

    @pytest.mark.parametrize("in_a_wait", [False, True])
    async def test_what_a_handler_holds_is_let_go_of_when_its_caller_goes_away(self, in_a_wait: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """At once, whether the stream was between messages or waiting for one; the call is counted as cancelled."""
        held: list[str] = []

        async def handler(_request: Any, _call: Call) -> AsyncIterator[Any]:
            held.append("something")
            try:
                yield ANSWER
                await asyncio.Event().wait()
            finally:
                held.clear()

        line = begun(handler, kind=Kind.STREAM)
        with capture_logs() as logs:
            async with aclosing(line.pipeline.stream(line.route, REQUEST, line.call)) as stream:
                await anext(stream)
                assert held
                if in_a_wait:
                    coming = asyncio.ensure_future(anext(stream))
                    await asyncio.sleep(0)
                    coming.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await coming
            assert not held
        assert [one["code"] for one in logs] == ["CANCELLED"]
        assert line.counts == (1, 0, 0)


class TestTheLogLine:
    """One line a request."""

    async def test_it_tells_the_facts_of_the_call(self) -> None:
        """Who called what, how it ended and how long it took, and what the handler adds."""

        def handler(_request: Any, call: Call) -> pb.GetConfigResponse:
            call.facts["namespace"] = "billing"
            return ANSWER

        with capture_logs() as logs:
            await begun(handler, x_request_id="id-1").reply()
        (line,) = logs
        assert line.pop("milliseconds") >= 0
        assert line == {
            "event": "request",
            "log_level": "info",
            "method": "/vestry.v1.ConfigService/GetConfig",
            "code": "OK",
            "caller": "user:tester",
            "request_id": "id-1",
            "namespace": "billing",
        }

    async def test_a_failure_adds_its_reason_and_message(self) -> None:
        """What the caller was told can be looked up."""

        def missing(_request: Any, _call: Call) -> None:
            raise DocumentNotFound("config", "billing")

        with capture_logs() as logs:
            await begun(missing).reply()
        facts = ("NOT_FOUND", "DOCUMENT_NOT_FOUND", "there is no config 'billing'")
        assert (logs[0]["code"], logs[0]["reason"], logs[0]["error"]) == facts

    async def test_it_holds_nothing_of_a_payload(self) -> None:
        """Neither of the request nor of the answer."""
        with capture_logs() as logs:
            await begun(waiting).reply()
            await begun(stuck).reply(b"\xff" + SECRET.encode())
        assert len(logs) == 2
        assert SECRET not in repr(logs)


class TestBinding:
    """From the method table to functions."""

    def test_each_method_finds_its_function(self) -> None:
        """By the service's full name and the method's."""

        class Service:
            service = "vestry.v1.ConfigService"
            get_config = staticmethod(plain)

        method = route_of(plain).method
        assert bind({method.path: method}, [Service()])[method.path].handler is plain

    def test_a_method_that_nothing_answers_is_an_error(self) -> None:
        """Whether the service is missing or the function."""

        class Service:
            service = "vestry.v1.ConfigService"

        method = route_of(plain).method
        for services in ([], [Service()]):
            with pytest.raises(LookupError, match=f"nothing answers {method.path}"):
                bind({method.path: method}, services)
