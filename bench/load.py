"""A closed loop: so many calls are kept in flight, each answer begins the next call."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from bench.calls import Call
from bench.effort import Effort
from bench.http2 import DATA, TIMEOUT_SECONDS, Connection, ServerRefused
from bench.processes import Server

WARM_UP_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run came to. `cpu_seconds` is the server's.

    `latencies` are the seconds that each call took, in order of size, where a connection carries one call at a time.
    """

    calls: int
    seconds: float
    cpu_seconds: float
    latencies: Sequence[float] = ()

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """The server's processor time per call."""
        return self.cpu_seconds / self.calls * 1e6

    @property
    def microseconds(self) -> float:
        """The time from one answer to the next: with one call in flight, how long a call takes."""
        return self.seconds / self.calls * 1e6

    def percentile(self, share: float) -> float:
        """The microseconds within which a share of the calls, below 1, had its answer."""
        return self.latencies[int(len(self.latencies) * share)] * 1e6


class Runner(Protocol):
    """What can be set going for a while, again and again, and is closed when it is done with."""

    def run(self, seconds: float) -> Sample:
        """Run for so long."""

    def close(self) -> None:
        """Let go of what it runs on."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, and what is asked of it: each call by a caller with a connection of its own, that keeps some in flight.

    With `expected`, every answer must have these bytes in it.
    """

    server: Server
    calls: Sequence[Call]
    in_flight: int = 1
    expected: bytes = b""


class Load:
    """The callers of a contender, connected and warm until `close`."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._numbers = count(1)
        self._messages = 0  # received in calls that have not ended yet
        self._begun: dict[Connection, float] = {}  # connection -> when its last call began
        self._selector = selectors.DefaultSelector()
        server = contender.server
        self._callers = [(Connection(server.port, call.path, server.token), call) for call in contender.calls]
        for caller in self._callers:
            self._selector.register(caller[0].socket, selectors.EVENT_READ, caller)
        self.run(WARM_UP_SECONDS)

    def run(self, seconds: float) -> Sample:
        """Call for so long, and wait for the last answers. Raises ServerRefused, TimeoutError."""
        server, in_flight = self._contender.server, self._contender.in_flight
        cpu_before, start = server.cpu_seconds(), time.monotonic()
        for connection, call in self._callers:
            self._begin(connection, call, in_flight)
        open_calls, answered = len(self._callers) * in_flight, 0
        latencies: list[float] = []
        while open_calls:
            ready = self._selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise TimeoutError(f"{open_calls} calls got no answer")
            is_over = time.monotonic() - start >= seconds
            for key, _ in ready:
                connection, call = key.data
                done = self._answers(connection)
                answered += done
                if done and in_flight == 1:
                    latencies.append(time.monotonic() - self._begun[connection])
                if is_over:
                    open_calls -= done
                else:
                    self._begin(connection, call, done)
        cpu = server.cpu_seconds() - cpu_before
        return Sample(answered, time.monotonic() - start, cpu, sorted(latencies))

    def close(self) -> None:
        """Close the connections."""
        self._selector.close()
        for connection, _ in self._callers:
            connection.close()

    def _begin(self, connection: Connection, call: Call, calls: int) -> None:
        self._begun[connection] = time.monotonic()
        connection.begin(*[call.message(next(self._numbers)) for _ in range(calls)])

    def _answers(self, connection: Connection) -> int:
        """Return how many calls were answered to the end by what has arrived."""
        ended = 0
        for frame in connection.receive():
            if frame.kind == DATA:
                self._messages += 1
                if self._contender.expected not in frame.payload:
                    raise ServerRefused(f"an answer lacks what was asked for: {frame.payload!r}")
            ended += frame.is_last
        self._messages -= ended
        if self._messages < 0:  # a call that fails ends without a message
            raise ServerRefused("a call failed")
        return ended


def contest(contenders: Mapping[str, Contender], effort: Effort, **others: Runner) -> dict[str, list[Sample]]:
    """Let the contenders, and what else runs, take turns: so what the machine does meets them all. name -> its samples."""
    samples: dict[str, list[Sample]] = {name: [] for name in (*contenders, *others)}
    with ExitStack() as stack:
        runners: dict[str, Runner] = {name: stack.enter_context(closing(one)) for name, one in others.items()}
        for name, contender in contenders.items():
            runners[name] = stack.enter_context(closing(Load(contender)))
        for _ in range(effort.rounds):
            for name, runner in runners.items():
                samples[name].append(runner.run(effort.round_seconds))
    return samples


def figures(samples: Sequence[Sample] | None, figure: Callable[[Sample], float]) -> list[float] | None:
    """Return one figure of each sample; None without samples, as there are of a server that is not installed."""
    return [figure(sample) for sample in samples] if samples else None
