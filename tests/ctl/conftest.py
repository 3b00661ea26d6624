"""What the tests of the command line share: a fake daemon on a socket, and two ways to run the program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2

DEFAULT = {"server": {"host": "0.0.0.0", "port": 8080}, "providers": [{"name": "a"}, {"name": "b"}], "big": 2**64 + 1}
PRODUCTION = {"server": {"port": 80}}
_HABITS = {"NO_COLOR", "FORCE_COLOR", "VISUAL", "EDITOR", "COLUMNS", "PYTHONUNBUFFERED"}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer has set out of the tests."""
    for name in list(os.environ):
        if name.startswith("VESTRY_") or name in _HABITS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon with the namespaces `default`, at version 2, and `billing`."""
    daemon = FakeDaemon(address=f"unix:{tmp_path}/v.sock")
    daemon.put("default", {common_pb2.LAYER_DEFAULT: DEFAULT}, message="first")
    daemon.put("default", {common_pb2.LAYER_DEFAULT: DEFAULT, common_pb2.LAYER_ENVIRONMENT: PRODUCTION})
    daemon.put("billing", {common_pb2.LAYER_DEFAULT: {"currency": "EUR"}})
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def ctl(daemon: FakeDaemon) -> Ctl:
    """The program, pointed at the fake daemon."""
    return Ctl(daemon.address)
