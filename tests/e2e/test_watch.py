"""Changes on their way from a file or a command to those who watch."""

from __future__ import annotations

import json
import signal
import time

import pytest

from e2e.ctl import ctl, start_ctl
from e2e.daemon import Daemon, until
from e2e.watch import RawWatch
from vestry import Client

pytestmark = pytest.mark.e2e


def test_each_version_arrives_once_and_in_order(sample_daemon: Daemon) -> None:
    """Whoever changes a namespace, by a file or by a command, its view is taken through each version, and no other's."""
    daemon = sample_daemon
    seen: list[tuple[int, int, int]] = []  # the view's version, and its values before and after
    with Client(daemon.target) as client, RawWatch(daemon.config, "default", "notifications") as watch:
        view = client.config()
        view.on_change("server.port", lambda old, new: seen.append((view.version, old, new)))

        daemon.save("development.json", {"server": {"port": 8001}})
        until(lambda: view.version == 2, "the saved file is in force")
        ctl(daemon, "config", "set", "server.port", "8002")
        until(lambda: view.version == 3, "the update is in force")
        ctl(daemon, "config", "rollback", "1", "--yes")
        until(lambda: view.version == 4, "the rollback is in force")
        ctl(daemon, "config", "set", "languages", '["fr"]', "-n", "notifications")
        daemon.save("override.json", {"server": {"port": 8003}})
        until(lambda: view.version == 5, "the new file is in force")
        (daemon.tree / "override.json").unlink()
        until(lambda: view.version == 6, "the deletion is in force")

    assert seen == [(2, 8080, 8001), (3, 8001, 8002), (4, 8002, 8080), (5, 8080, 8003), (6, 8003, 8080)]
    ports = [(version, document["server"]["port"]) for version, document in watch.updates()]
    assert ports == [(1, 8080), (2, 8001), (3, 8002), (4, 8080), (5, 8003), (6, 8080)]
    assert [document["languages"] for _, document in watch.updates("notifications")] == [["en", "de", "nb-NO"], ["fr"]]


def test_vestryctl_shows_a_saved_file_at_once(sample_daemon: Daemon) -> None:
    """`vestryctl config watch` prints a change within a second of the save, given a machine that is not overloaded."""
    with start_ctl(sample_daemon, "config", "watch", "-o", "json") as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["update"]["version"] == 1
            saved_at = time.monotonic()
            sample_daemon.save("development.json", {"server": {"port": 8001}})
            update = json.loads(process.stdout.readline())["update"]
            seconds = time.monotonic() - saved_at
        finally:
            process.send_signal(signal.SIGINT)
    assert update["document"]["server"]["port"] == 8001
    assert seconds < 5
    assert process.returncode == 130
