"""What happens to every call on its way to a handler and back, whatever wire it came over.

A transport finds the route, begins a call, and hands over bytes; it gets bytes back, or how the call failed. In between
stand: the request id, who calls, whether they may, the deadline, the figures, the log line, and the errors through one table.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code

from vestry.v1 import common_pb2 as common
from vestryd.domain.access import Guard
from vestryd.domain.errors import CredentialsMissing, InvalidField, PermissionDenied, VestryError
from vestryd.domain.identity import Caller
from vestryd.services.call import Authenticator, Call, Peer
from vestryd.services.common_requests import MAX_REQUEST_ID_CHARACTERS
from vestryd.services.figures import Figures
from vestryd.services.live import LiveStreams
from vestryd.services.methods import Method
from vestryd.services.status import TABLE, DeadlineExceeded, Failure, InternalError, failure

REQUEST_ID = "x-request-id"  # metadata, both ways

# A handler is plain for a read that is answered from memory (it may return an awaitable when it has to wait after all),
# async for what may wait, and an async generator of messages, or of their bytes, for a stream.
Handler = Callable[[Any, Call], Any]
Metadata = Mapping[str, str | bytes]

log = structlog.get_logger("vestryd.requests")


@dataclass(slots=True)
class Route:
    """A method and the function that answers it."""

    method: Method
    handler: Handler
    figures: Figures = field(default_factory=Figures)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over the wire: a body, or a failure."""

    body: bytes
    failure: Failure | None = None


class CallFailed(Exception):
    """A stream ends with a failure."""

    def __init__(self, why: Failure) -> None:
        super().__init__(why.message)
        self.failure = why


def bind(table: Mapping[str, Method], services: Iterable[object]) -> dict[str, Route]:
    """Return path -> route for the whole table. Raises LookupError when a method has no handler.

    Each service has an attribute `service`, its full name in the protos, and a function for each method.
    """
    by_name = {service.service: service for service in services}  # type: ignore[attr-defined]
    routes = {}
    for path, method in table.items():
        handler = getattr(by_name.get(method.service), method.handler, None)
        if handler is None:
            raise LookupError(f"nothing answers {path}")
        routes[path] = Route(method, handler)
    return routes


class Pipeline:
    """The way of a call, for as long as the daemon serves. It belongs to one event loop.

    `live` ends the streams whose callers may no longer have them; somebody has to run it.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        authenticator: Authenticator,
        guard: Guard,
        default_deadline_seconds: float,
    ) -> None:
        self.routes = routes
        self.live = LiveStreams(authenticator, guard)
        self._authenticator = authenticator
        self._guard = guard
        self._default_deadline_seconds = default_deadline_seconds

    def begin(self, route: Route, *, peer: Peer, metadata: Metadata, timeout_seconds: float | None) -> Call:
        """Return the call that has just arrived. `timeout_seconds` is what the caller allows, None if it doesn't say."""
        route.figures.begin()
        seconds = self._default_deadline_seconds if timeout_seconds is None else timeout_seconds
        request_id = _request_id(metadata)
        return Call(
            method=route.method,
            peer=peer,
            request_id=request_id,
            arrival=time.monotonic(),
            timeout_seconds=seconds,
            metadata=metadata,
            trailing=[(REQUEST_ID, request_id)],
        )

    async def knows(self, peer: Peer, metadata: Metadata) -> bool:
        """Tell whether a caller has credentials: for what isn't ours, such as reflection."""
        try:
            caller = self._authenticator.identify(peer, metadata)
            return (caller if isinstance(caller, Caller) else await caller).is_known
        except VestryError:
            return False

    def unary(self, route: Route, data: bytes, call: Call) -> Reply | Awaitable[Reply]:
        """Answer a unary call: at once when its handler does, else with an awaitable."""
        try:
            caller = self._authenticator.identify(call.peer, call.metadata)
            if not isinstance(caller, Caller):
                return self._wait(route, call, self._answer_later(route, data, call, caller))
            answer = self._answer(route, data, call, caller)
            if isawaitable(answer):
                return self._wait(route, call, answer)
            body = answer.SerializeToString()
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            return Reply(b"", _fail(route, call, error))
        _end(route, call, "OK")
        return Reply(body)

    async def stream(self, route: Route, data: bytes, call: Call) -> AsyncGenerator[bytes, None]:
        """Answer a stream: yield its messages' bytes. Raises CallFailed when it ends otherwise than by being done."""
        code = "CANCELLED"  # unless we learn better: the caller goes away
        try:
            caller = self._authenticator.identify(call.peer, call.metadata)
            call.caller = caller if isinstance(caller, Caller) else await caller
            request, resources = self._admit(route.method, data, call)
            with self.live.holding(call, resources):
                answers: AsyncGenerator[bytes | Message, None] = route.handler(request, call)
                async with contextlib.aclosing(answers):  # what it holds is let go of now, not when it is collected
                    async for answer in answers:
                        yield answer if isinstance(answer, bytes) else answer.SerializeToString()
            code = "OK"
        except asyncio.CancelledError:
            if call.ended is None:
                raise
            code = ""
            _take_back_cancellation()
            if body := _farewell(route.method, call.ended):
                yield body
            raise CallFailed(_fail(route, call, call.ended)) from call.ended
        except Exception as error:
            code = ""
            raise CallFailed(_fail(route, call, error)) from error
        finally:
            if code == "OK" or (code and call.ended is None):
                _end(route, call, code)

    def cut_off(self, route: Route, call: Call) -> CallFailed | None:
        """Return how a stream failed whose sending was cancelled because of `call.ended`; None when the caller went away."""
        if call.ended is None:
            return None
        _take_back_cancellation()
        return CallFailed(_fail(route, call, call.ended))

    def _answer(self, route: Route, data: bytes, call: Call, caller: Caller) -> Any:
        call.caller = caller
        request, _ = self._admit(route.method, data, call)
        return route.handler(request, call)

    async def _answer_later(self, route: Route, data: bytes, call: Call, caller: Awaitable[Caller]) -> Message:
        answer = self._answer(route, data, call, await caller)
        found: Message = await answer if isawaitable(answer) else answer
        return found

    def _admit(self, method: Method, data: bytes, call: Call) -> tuple[Message, Sequence[str]]:
        """Return the request and its resources, if the caller may. Who is not known learns nothing of the request."""
        if not call.caller.is_known:
            raise CredentialsMissing
        request = _parse(method, data)
        resources = method.resources(request)
        if not method.is_for_any_caller:
            for resource in resources:
                self._guard.require(call.caller, method.action, resource)
        return request, resources

    async def _wait(self, route: Route, call: Call, answer: Awaitable[Message]) -> Reply:
        try:
            with structlog.contextvars.bound_contextvars(request_id=call.request_id):
                async with asyncio.timeout(call.remaining()) as limit:
                    body = (await answer).SerializeToString()
        except TimeoutError as error:
            ours = DeadlineExceeded(call.timeout_seconds) if limit.expired() else error
            return Reply(b"", _fail(route, call, ours))
        except asyncio.CancelledError:
            _end(route, call, "CANCELLED")
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            return Reply(b"", _fail(route, call, error))
        _end(route, call, "OK")
        return Reply(body)


def _take_back_cancellation() -> None:
    task = asyncio.current_task()
    assert task, "a stream is sent by a task"
    task.uncancel()


def _farewell(method: Method, error: VestryError) -> bytes:
    """Return the last message of a watch that its caller may no longer have; nothing for a stream without such a message."""
    if "end" not in method.response.DESCRIPTOR.fields_by_name:
        return b""
    is_permission = isinstance(error, PermissionDenied)
    reason = common.WATCH_END_REASON_PERMISSION_LOST if is_permission else common.WATCH_END_REASON_CREDENTIALS_ENDED
    return method.response(end=common.WatchEnd(reason=reason, message=str(error))).SerializeToString()


def _parse(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        name = method.request.DESCRIPTOR.full_name
        raise InvalidField("request", f"its bytes are not a {name}") from error


def _request_id(metadata: Metadata) -> str:
    """Return the caller's own id if it can stand in a log line and in metadata, else a new one."""
    theirs = metadata.get(REQUEST_ID, "")
    if not isinstance(theirs, str) or not theirs.isascii() or not theirs.isprintable():
        return os.urandom(8).hex()
    return theirs if 0 < len(theirs) <= MAX_REQUEST_ID_CHARACTERS else os.urandom(8).hex()


def _fail(route: Route, call: Call, error: Exception) -> Failure:
    if not isinstance(error, VestryError) or type(error) not in TABLE:
        log.error("request.crashed", request_id=call.request_id, method=route.method.path, exc_info=error)
        error = InternalError(call.request_id)
    why = failure(error)
    _end(route, call, Code.Name(why.code), reason=why.reason, error=why.message)
    return why


def _end(route: Route, call: Call, code: str, **facts: object) -> None:
    seconds = time.monotonic() - call.arrival
    route.figures.end(seconds, failed=code not in {"OK", "CANCELLED"})
    log.info(
        "request",
        method=route.method.path,
        code=code,
        milliseconds=round(seconds * 1000, 3),
        caller=call.caller.name,
        request_id=call.request_id,
        **call.facts,
        **facts,
    )
