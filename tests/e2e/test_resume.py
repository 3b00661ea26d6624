"""A watcher across restarts of the daemon: without a gap, without a repetition."""

from __future__ import annotations

import signal

import pytest

from e2e.daemon import Daemon, until
from e2e.watch import RawWatch
from vestry import Client

pytestmark = pytest.mark.e2e

ENDINGS = pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)


@ENDINGS
def test_a_resumed_watch_brings_what_was_missed(daemon: Daemon, ending: signal.Signals) -> None:
    """A token brings each version since: made while nobody watched, while the daemon was down, and after that."""
    with RawWatch(daemon.config) as before:
        daemon.update({"step": 2})
        until(lambda: before.versions() == [1, 2], "the watch is up to date")
    daemon.update({"step": 3})
    daemon.update({"step": 4})
    _restart(daemon, ending)  # which makes version 5
    daemon.update({"step": 6})
    with RawWatch(daemon.config, resume_token=before.token) as after:
        daemon.update({"step": 7})
        until(lambda: after.versions()[-1:] == [7], "the watch is up to date")
    assert [(version, document["step"]) for version, document in after.updates()] == [
        (3, 3),
        (4, 4),
        (5, 4),
        (6, 6),
        (7, 7),
    ]


@ENDINGS
def test_a_watch_resumes_where_its_stream_broke(daemon: Daemon, ending: signal.Signals) -> None:
    """The last token before the end, however the daemon ended, brings what followed and nothing that came before."""
    with RawWatch(daemon.config) as before:
        daemon.update({"step": 2})
        until(lambda: before.versions() == [1, 2], "the watch is up to date")
        _restart(daemon, ending)
        before.join()
    with RawWatch(daemon.config, resume_token=before.token) as after:
        assert after.versions() == [3]


@ENDINGS
def test_a_view_is_taken_through_each_version(daemon: Daemon, ending: signal.Signals) -> None:
    """A view of the library comes back by itself after a restart, and sees each version once."""
    seen: list[int] = []  # versions
    with Client(daemon.target) as client:
        view = client.config()
        view.on_change("", lambda _old, _new: seen.append(view.version))
        daemon.update({"step": 2})
        until(lambda: view.version == 2, "the view is up to date")
        _restart(daemon, ending)  # which makes version 3
        daemon.update({"step": 4})
        until(lambda: view.version == 4 and view.is_live, "the view is up to date")
        daemon.update({"step": 5})
        until(lambda: view.version == 5, "the view is up to date")
    assert seen == [2, 3, 4, 5]


def test_a_long_absence_skips_to_the_newest(daemon: Daemon) -> None:
    """A reader that missed more than is worth sending gets the newest version for sure, and none out of order."""
    with RawWatch(daemon.config) as before:
        pass
    for step in range(2, 62):
        daemon.update({"step": step})
    daemon.kill()
    daemon.start()
    with RawWatch(daemon.config, resume_token=before.token) as after:
        versions = after.versions()
    assert versions[-1] == 61
    assert versions == list(range(versions[0], 62))


def _restart(daemon: Daemon, ending: signal.Signals) -> None:
    """End the daemon, edit a file while it is down, and start it."""
    daemon.signal(ending)
    daemon.wait()
    daemon.save("override.json", {"server": {"port": 81}})
    daemon.start()
