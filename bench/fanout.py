"""Fan-out: from one write until the last of many watchers has it, beside etcd; every watcher has a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.calls import Call, put, update_config, watch_config, watch_key
from bench.effort import Effort
from bench.http2 import Connection
from bench.processes import Server, etcd, vestryd
from bench.report import Goal, Row
from bench.watchers import Fleet

SECTION = "fan-out"
NAME = "fan-out"  # of the namespace, and of the key
WATCHERS = (100, 1000)
PAUSE_SECONDS = 0.02  # between two publications, so that each finds its server at rest


@dataclass(slots=True)
class Fanout:
    """A server with its watchers, and what each publication took."""

    server: Server
    writer: Connection
    write: Call
    fleet: Fleet
    bytes_per_watcher: float
    since_sent: list[float] = field(default_factory=list)  # milliseconds
    since_answered: list[float] = field(default_factory=list)  # milliseconds; below 0 if the writer heard of it last
    cpu_per_delivery: list[float] = field(default_factory=list)  # microseconds, the write itself included

    def publish(self) -> None:
        """Write once, and wait until every watcher has it."""
        cpu_before, sent = self.server.cpu_seconds(), time.monotonic()
        self.writer.ask(self.write.message(self.fleet.next_write))
        answered = time.monotonic()
        delivered = self.fleet.last_has_it_at()
        self.since_sent.append((delivered - sent) * 1e3)
        self.since_answered.append((delivered - answered) * 1e3)
        self.cpu_per_delivery.append((self.server.cpu_seconds() - cpu_before) / self.fleet.watchers * 1e6)


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure the delay, the server's processor time per delivery and its memory per watcher, for 100 and 1000 watchers."""
    return [row for watchers in WATCHERS for row in _measure(directory / str(watchers), watchers, effort)]


def _measure(directory: Path, watchers: int, effort: Effort) -> list[Row]:
    directory.mkdir()
    writes = effort.publications
    with ExitStack() as stack:
        ours = stack.enter_context(vestryd(directory, [NAME]))
        theirs = stack.enter_context(etcd(directory))
        contenders = [stack.enter_context(_fanout(ours, update_config(NAME), watch_config(NAME), watchers, writes))]
        if theirs:
            contenders.append(stack.enter_context(_fanout(theirs, put(NAME), watch_key(NAME), watchers, writes)))
        for _ in range(writes):
            for contender in contenders:
                contender.publish()
                time.sleep(PAUSE_SECONDS)
    return _rows(watchers, *contenders)


@contextmanager
def _fanout(server: Server, write: Call, watch: Call, watchers: int, writes: int) -> Iterator[Fanout]:
    bytes_before = server.resident_bytes()
    with (
        Fleet(server, watch, watchers=watchers, writes=writes) as fleet,
        closing(Connection(server.port, write.path, server.token)) as writer,
    ):
        bytes_per_watcher = (server.resident_bytes() - bytes_before) / watchers
        yield Fanout(server, writer, write, fleet, bytes_per_watcher)


def _rows(watchers: int, ours: Fanout, theirs: Fanout | None = None) -> list[Row]:
    who = f"{watchers} watchers"
    told: list[tuple[str, str, Callable[[Fanout], list[float]], Goal | None]] = [
        (f"write answered → last of {who}", "ms", lambda one: one.since_answered, None),
        (f"write sent → last of {who}", "ms", lambda one: one.since_sent, None),
        (f"a delivery to {who}", "CPU µs", lambda one: one.cpu_per_delivery, None),
        (f"memory of each of {who}", "KiB", lambda one: [one.bytes_per_watcher / 1024], Goal("ratio", most=1)),
    ]
    return [
        Row(SECTION, what, unit, figure(ours), "etcd", figure(theirs) if theirs else None, goal)
        for what, unit, figure, goal in told
    ]
