from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from client.waiting import eventually_here
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.errors import RemoteError, Unavailable
from vestry.v1 import common_pb2
from vestryctl.following import Patience

BAD = common_pb2.Violation(pointer="/server/port", rule="maximum", message="too much", file="default.json", line=3)


@contextmanager
def watching(ctl: Ctl, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a watch as a process of its own."""
    process = ctl.start("config", "watch", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[bytes]) -> str:
    """Return the next line of standard output; the test's own timeout bounds the wait."""
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def set_port(daemon: FakeDaemon, port: int, **facts: Any) -> None:
    """Make a version of `default` by its runtime layer."""
    layers = {**daemon.documents["default"].current.layers, common_pb2.LAYER_RUNTIME: {"server": {"port": port}}}
    daemon.put("default", layers, **facts)


def test_watch_prints_the_state_and_then_each_change(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A change is a line about the version and lines about the values."""
    with watching(ctl) as process:
        assert line(process) == "2026-09-21 14:13:21  default  version 2  files (file)  [now]"
        set_port(daemon, 99, author="ann", message="new\nproxy", cause=common_pb2.CAUSE_UPDATE)
        assert line(process) == "2026-09-21 14:13:22  default  version 3  ann (update)  new proxy"
        assert [line(process), line(process)] == ["  - /server/port: 80", "  + /server/port: 99"]


def test_watch_in_json_is_one_object_a_line_at_once(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Each line is flushed when it happens, documents are JSON, and only the event that is set is there."""
    with watching(ctl, "default", "billing", "-o", "json") as process:
        now = [json.loads(line(process)), json.loads(line(process))]
        assert [each["update"]["namespace"] for each in now] == ["default", "billing"]
        assert all(each["resume_token"] == "" for each in now)
        set_port(daemon, 99)
        change = json.loads(line(process))
        assert change["update"]["document"]["server"]["port"] == 99
        assert change.keys() == {"resume_token", "update"}
        assert change["resume_token"] != ""


def test_watch_shows_rejected_files(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A rejection comes with its violations, and its end is told as well."""
    with watching(ctl) as process:
        line(process)
        daemon.reject("default", BAD)
        assert line(process).endswith("default  files rejected, version 2 stays in force")
        assert [line(process), line(process)][1].split() == ["/server/port", "maximum", "too", "much", "default.json:3"]
        daemon.reject("default")
        assert line(process) == "default: the files are in order again"


def test_watch_goes_on_where_it_was_after_a_restart(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The token is sent on reconnecting, and what happened meanwhile comes once."""
    with watching(ctl, "-o", "json") as process:
        line(process)
        set_port(daemon, 99)
        line(process)
        daemon.stop()
        set_port(daemon, 100)
        daemon.start()
        assert json.loads(line(process))["update"]["version"] == 4
    assert daemon.watches[-1].resume_token == "4"


def test_watch_starts_anew_when_its_token_is_foreign(ctl: Ctl, daemon: FakeDaemon) -> None:
    """After a restore the state now is read again, and what is known already is not repeated."""
    with watching(ctl, "-o", "json") as process:
        line(process)
        set_port(daemon, 99)
        line(process)
        daemon.stop()
        daemon.forget_history()
        daemon.start()
        eventually_here(lambda: len(daemon.watches) == 3 and not daemon.watches[-1].resume_token)
        set_port(daemon, 100)
        assert json.loads(line(process))["update"]["version"] == 4


def test_watch_says_when_the_daemon_is_gone_and_back(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A person at a terminal sees why nothing happens."""
    terminal = ctl.at_terminal("config", "watch")
    terminal.read_until("[now]")
    daemon.stop()
    terminal.read_until("lost vestryd at")
    daemon.start()
    terminal.read_until("vestryd is back")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130


def test_an_interrupt_ends_a_watch_quietly(ctl: Ctl) -> None:
    """Ctrl-C leaves no traceback, and the exit code of an interrupted program."""
    with watching(ctl) as process:
        line(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (130, b"")


def test_watch_of_an_unknown_namespace_fails_at_once(ctl: Ctl) -> None:
    """What the daemon refuses is not tried again."""
    result = ctl("config", "watch", "nope")
    assert (result.exit_code, result.stderr) == (1, "vestryctl: there is no config 'nope'\n")


def test_watch_fails_when_there_is_no_daemon_to_begin_with(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A wrong address is told at once; only a daemon that was there is waited for."""
    daemon.stop()
    assert ctl("config", "watch").exit_code == 3


def test_a_watch_whose_credentials_are_refused_for_good_ends() -> None:
    """A refusal may be of a token of before a restart, so it takes a third one; one that was never there ends at once."""
    refused, away = RemoteError("no", reason="CREDENTIALS_INVALID"), Unavailable("gone")
    fresh, there = Patience(), Patience()
    assert [fresh.outlasts(refused), fresh.outlasts(away)] == [False, False]
    there.heard()
    assert [there.outlasts(one) for one in (away, refused, away, refused, refused)] == [True, True, True, True, False]
    there.heard()
    assert there.outlasts(refused)
    assert not there.outlasts(RemoteError("denied", reason="PERMISSION_DENIED"))
