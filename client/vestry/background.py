"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from vestry.errors import CallInCallback, ClientClosed, ForkedProcess

T = TypeVar("T")

log = logging.getLogger(__name__)


class Runner(Protocol):
    """Runs coroutines for threads that wait for them, and functions for coroutines."""

    def check(self) -> None:
        """Raise when the calling thread can't wait here."""

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that `make` returns, and return or raise what it does."""

    def start(self, work: Callable[[], None]) -> Awaitable[None] | None:
        """Run a function that may block and may call `run`; return what to await until it is done, if it isn't yet."""


class LoopThread:
    """Runs coroutines for threads that wait for them. Lives until `finish`, in the process that made it."""

    def __init__(self) -> None:
        self._process_id = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="vestry-client", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise ForkedProcess, ClientClosed or CallInCallback when the calling thread can't wait for this one."""
        if self._process_id != os.getpid():
            raise ForkedProcess
        if self._loop.is_closed():
            raise ClientClosed
        if threading.current_thread() is self._thread:
            raise CallInCallback

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that `make` returns, and return or raise what it does. Raises as `check`."""
        self.check()
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt stops the waiting: stop the work as well
            raise

    async def start(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of its own, which nobody waits for once this is cancelled. Logs what it raises."""
        done = asyncio.Event()

        def run() -> None:
            try:
                work()
            except Exception:
                log.exception("callback_failed")
            finally:
                with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                    self._loop.call_soon_threadsafe(done.set)

        threading.Thread(target=run, name="vestry-callback", daemon=True).start()
        await done.wait()

    def finish(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one last coroutine, and end the loop and the thread. Idempotent; a forked child has nothing to end.

        Waits for it all, unless it is called on the thread itself, as by a callback or the garbage collector.
        """
        if self._process_id != os.getpid() or self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._last(make), self._loop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _last(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await make()
        finally:
            self._loop.stop()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
