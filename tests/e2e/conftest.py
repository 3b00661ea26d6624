"""What the end-to-end tests share: a daemon on a tree of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.daemon import REPOSITORY, Daemon

SCHEMA = {
    "type": "object",
    "required": ["server"],
    "properties": {
        "server": {"type": "object", "properties": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}}},
        "password": {"type": "string", "maxLength": 12, "x-secret": True},
    },
}
DEFAULT = {"server": {"port": 80}, "name": "sample"}


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, each on a small tree: `make_daemon(name, …)`. They are ended, and their logs shown if a test fails.

    Whatever a test does to a daemon, it may not have met a defect of its own: nothing is logged as an error.
    """
    made: list[Daemon] = []

    def make(name: str = "d", *args: object, **options: object) -> Daemon:
        daemon = Daemon(tmp_path / name, *args, **options)  # type: ignore[arg-type] # it is passed on as it is
        made.append(daemon)
        daemon.save("schema.json", SCHEMA)
        daemon.save("default.json", DEFAULT)
        return daemon

    yield make
    for daemon in made:
        daemon.close()
        log = daemon.log()
        sys.stdout.write(log)
        assert '"level": "error"' not in log
        assert "Traceback" not in log


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs."""
    return make_daemon().start()


@pytest.fixture
def sample_daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs on a copy of the repository's sample tree."""
    daemon = make_daemon()
    shutil.rmtree(daemon.tree)
    shutil.copytree(REPOSITORY / "config", daemon.tree)
    return daemon.start()
