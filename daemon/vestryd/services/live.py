"""The streams that are open, and whether their callers may still have them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vestryd.domain.access import Guard
from vestryd.domain.errors import CredentialsInvalid, CredentialsMissing, PermissionDenied
from vestryd.services.call import Authenticator, Call

RECHECK_SECONDS = 0.5  # half of what is promised
CHECKED_AT_ONCE = 256  # streams, before other work of the loop gets its turn


@dataclass(slots=True, eq=False)
class Stream:
    """A stream that is open, the resources that it was opened for, and the task that sends it."""

    call: Call
    resources: Sequence[str]
    task: asyncio.Task[object]


class LiveStreams:
    """Ends the streams whose callers lose their credentials or their permission. Lives as long as the daemon serves.

    A policy changes with its document, and with the clock; a token and a certificate with the clock, or when somebody revokes
    them. All of them are asked again twice a second, and at once after `changed`.
    """

    def __init__(self, authenticator: Authenticator, guard: Guard) -> None:
        self._authenticator = authenticator
        self._guard = guard
        self._streams: dict[Stream, None] = {}  # an ordered set
        self._news = asyncio.Event()

    @contextmanager
    def holding(self, call: Call, resources: Sequence[str]) -> Iterator[None]:
        """Look after the stream that the running task sends, until the block ends."""
        task = asyncio.current_task()
        assert task, "a stream is sent by a task"
        stream = Stream(call, resources, task)
        self._streams[stream] = None
        try:
            yield
        finally:
            self._streams.pop(stream, None)

    def changed(self) -> None:
        """Look at once: a policy has changed, or a credential has ended."""
        self._news.set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            await self._recheck()

    async def _recheck(self) -> None:
        for number, stream in enumerate(list(self._streams), 1):
            if stream in self._streams:
                self._check(stream)
            if number % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _check(self, stream: Stream) -> None:
        call = stream.call
        try:
            self._authenticator.recheck(call.caller)
            if not call.method.is_for_any_caller:
                for resource in stream.resources:
                    self._guard.require(call.caller, call.method.action, resource)
        except (CredentialsInvalid, CredentialsMissing, PermissionDenied) as error:
            call.ended = error
            self._streams.pop(stream, None)
            stream.task.cancel()
