"""A daemon that is stopped dead: its sockets stay open, and nobody answers, not even gRPC."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest

from client.conftest import POLICY
from client.daemon_process import daemon_process
from client.waiting import eventually_here
from vestry import Client, DeadlineExceeded, ReconnectPolicy


def test_a_stopped_process_is_noticed(target: str) -> None:
    """A SIGSTOPped daemon is lost when the time for silence is over; calls end at their deadline; SIGCONT heals it all."""
    policy = replace(POLICY, silence_seconds=0.5)
    with (
        daemon_process(target, heartbeat_seconds=0.1) as daemon,
        Client(target, timeout=1.0, reconnect=policy) as client,
    ):
        view = client.config()
        os.kill(daemon.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        eventually_here(lambda: not view.is_live)
        assert time.monotonic() - stopped_at < 1.5
        with pytest.raises(DeadlineExceeded, match="did not answer in time"):
            view.status()
        assert view["from"] == "process"
        os.kill(daemon.pid, signal.SIGCONT)
        eventually_here(lambda: view.is_live)
        assert view.status().version == 1


def test_the_default_notices_within_15_seconds() -> None:
    """With a daemon's default heartbeat of 10 s, and 2 s of grace for a late one, the default is below 15 s."""
    assert 10 + 2 <= ReconnectPolicy().silence_seconds < 15


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_stopped_process_is_noticed_within_15_seconds(target: str) -> None:
    """The same with nothing shortened, on a connection that was quiet before: no ping of gRPC's is under way."""
    with daemon_process(target) as daemon, Client(target) as client:
        view = client.config()
        eventually_here(lambda: view.age > 2)
        os.kill(daemon.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        eventually_here(lambda: not view.is_live, seconds=30)
        assert time.monotonic() - stopped_at < 15
