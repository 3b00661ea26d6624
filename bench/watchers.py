"""Watchers by the hundred, in a process of their own: each has a connection, and all must get each write.

`Fleet` is what a measurement uses. `python -m bench.watchers PORT PATH HEX HALF_CLOSE WATCHERS WRITES` is its child: it
says `watching` once every watcher has heard from the server, and then, for each write from number 1, the monotonic time
at which the last watcher got it.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from bench.calls import Call, numbered
from bench.http2 import DATA, TIMEOUT_SECONDS, Connection, ServerRefused
from bench.processes import Server

TOKEN_VARIABLE = "BENCH_TOKEN"


class Fleet:
    """The watchers of one server, for the length of a `with` block. They wait for the write number `next_write`."""

    def __init__(self, server: Server, call: Call, *, watchers: int, writes: int) -> None:
        self.watchers = watchers
        self.next_write = 1
        self._command = [sys.executable, "-m", "bench.watchers", str(server.port), call.path, call.template.hex()]
        self._command += [str(int(call.half_close)), str(watchers), str(writes)]
        self._environ = {**os.environ, TOKEN_VARIABLE: server.token}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, env=self._environ, stdout=subprocess.PIPE, text=True)
        try:
            self._line()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def last_has_it_at(self) -> float:
        """Wait until every watcher has the next write, and return when the last one got it."""
        self.next_write += 1
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the watchers died")
        return line


def watch(port: int, call: Call, *, watchers: int, writes: int) -> None:
    """Be the child."""
    selector = selectors.DefaultSelector()
    for _ in range(watchers):
        connection = Connection(port, call.path, os.environ[TOKEN_VARIABLE])
        connection.begin(call.message(0), half_close=call.half_close)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    _until_all_have(b"", selector)
    print("watching", flush=True)
    for number in range(1, writes + 1):
        _until_all_have(numbered(number), selector)
        print(time.monotonic(), flush=True)


def _until_all_have(wanted: bytes, selector: selectors.BaseSelector) -> None:
    """Wait until each watcher has got a message with these bytes in it."""
    missing = {key.fd for key in selector.get_map().values()}
    while missing:
        ready = selector.select(TIMEOUT_SECONDS)
        if not ready:
            raise TimeoutError(f"{len(missing)} watchers did not get {wanted!r}")
        for key, _ in ready:
            for frame in key.data.receive():
                if frame.is_last:
                    raise ServerRefused("a watch ended")
                if frame.kind == DATA and wanted in frame.payload:
                    missing.discard(key.fd)


if __name__ == "__main__":
    port, path, template, half_close, watchers, writes = sys.argv[1:]
    call = Call(path, bytes.fromhex(template), half_close=half_close == "1")
    watch(int(port), call, watchers=int(watchers), writes=int(writes))
