from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2

PRINT = "import os; print(os.environ['X'], flush=True)"
# A server of sorts: it says what it was started with, and each signal that it gets; SIGTERM ends it with 7.
SERVER = """
import os, signal, sys
def say(number, frame):
    os.write(1, (signal.Signals(number).name + "\\n").encode())
    if number == signal.SIGTERM:
        sys.exit(7)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, say)
print(os.environ['X'], flush=True)
while True:
    signal.pause()
"""
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.environ['X'], flush=True)
while True:
    signal.pause()
"""


@pytest.fixture(autouse=True)
def _secret(daemon: FakeDaemon) -> None:
    daemon.secrets.set("x", b"one")


@contextmanager
def running(ctl: Ctl, *options: str, program: str = SERVER) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of Python under `vestryctl run`."""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = ctl.start("run", *options, "--", sys.executable, "-c", program, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()


def line(process: subprocess.Popen[bytes]) -> str:
    """Return the next line of standard output; the test's own timeout bounds the wait."""
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def test_values_are_in_the_environment(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Secrets and configuration under the names that were chosen, of any namespace; what was there stays."""
    daemon.secrets.set("api-key", b"\xff", namespace="billing")
    program = "import os; print([os.environb.get(n) for n in (b'P', b'API_KEY', b'PORT', b'SERVER', b'MINE')])"
    options = (
        "--secret",
        "P=x",
        "--secret",
        "api-key@billing",
        "--config",
        "PORT=server.port",
        "--config",
        "SERVER=server",
    )
    result = ctl.run("run", *options, "--", sys.executable, "-c", program, env={"MINE": "kept"})
    assert result.returncode == 0, result.stderr
    assert eval(result.stdout) == [b"one", b"\xff", b"80", b'{"host": "0.0.0.0", "port": 80}', b"kept"]


@pytest.mark.parametrize("reaction", ["ignore", "restart"])
def test_the_command_gets_values_and_not_the_right_to_more(
    ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, reaction: str
) -> None:
    """The caller's own token stays behind, unless it is passed on; a secret that is put into its variable is chosen."""
    (tmp_path / "token").write_text("another-token")
    (tmp_path / "token").chmod(0o600)
    ours = {"VESTRY_TOKEN": "a-token", "VESTRY_TOKEN_FILE": str(tmp_path / "token")}
    program = "import os; print([os.environ.get(n) for n in ('X', 'VESTRY_TOKEN', 'VESTRY_TOKEN_FILE')])"

    def told(*options: str) -> list[str | None]:
        command = ("--on-change", reaction, "--secret", "x", *options, "--", sys.executable, "-c", program)
        result = ctl.run("run", *command, env=ours)
        assert result.returncode == 0, result.stderr
        found: list[str | None] = eval(result.stdout)
        return found

    assert told() == ["one", None, None]
    assert told("--pass-token") == ["one", *ours.values()]
    assert told("--secret", "VESTRY_TOKEN=x") == ["one", "one", None]


def test_references_are_resolved(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A value that refers to a secret is the secret; one that is withheld is an error."""
    good, bad = ({"$secret": f"namespaces/default/secrets/{name}"} for name in ("x", "nope"))
    daemon.put("default", {common_pb2.LAYER_DEFAULT: {"good": good, "bad": bad}})
    result = ctl.run("run", "--config", "X=good", "--", sys.executable, "-c", PRINT)
    assert result.stdout == "one\n"
    result = ctl.run("run", "--config", "X=bad", "--", sys.executable, "-c", PRINT)
    assert (result.returncode, result.stdout) == (1, "")
    assert "withheld: /bad: not allowed" in result.stderr


@pytest.mark.parametrize("reaction", ["ignore", "restart"])
@pytest.mark.parametrize(("ending", "code"), [("sys.exit(5)", 5), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_is_the_commands(ctl: Ctl, reaction: str, ending: str, code: int) -> None:
    """What a shell sees of the command is what it sees of the program: a status, or a signal."""
    program = f"import os, sys; {ending}"
    options = ("--secret", "X=x", "--on-change", reaction)
    result = ctl.run("run", *options, "--", sys.executable, "-c", program)
    assert result.returncode == (code if reaction == "restart" or code == 5 else -9)


def test_without_a_watch_the_command_takes_our_place(ctl: Ctl) -> None:
    """The process is the command itself: its id is ours, and signals need no forwarding."""
    with running(ctl, "--secret", "X=x", program="import os; print(os.getpid(), flush=True)") as process:
        assert line(process) == str(process.pid)


@pytest.mark.parametrize("options", [(), ("--on-change", "restart")])
def test_values_are_in_no_argument(ctl: Ctl, options: tuple[str, ...]) -> None:
    """What any user of the machine can list shows no value."""
    with running(ctl, "--secret", "X=x", *options) as process:
        assert line(process) == "one"
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                content = arguments.read_bytes()
            except OSError:
                continue
            assert b"X=one" not in content


def test_a_command_that_cant_be_run(ctl: Ctl, tmp_path: Path) -> None:
    """Not found is 127, not executable 126, as shells have it, on either way."""
    plain = tmp_path / "plain"
    plain.write_text("")
    for reaction in ("ignore", "restart"):
        options = ("run", "--secret", "X=x", "--on-change", reaction, "--")
        assert ctl.run(*options, str(tmp_path / "no")).returncode == 127
        result = ctl.run(*options, str(plain))
        assert (result.returncode, "can't run" in result.stderr) == (126, True)


def test_a_restart_on_change(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A new value stops the command, and starts it with the new one."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart") as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"two")
        assert [line(process), line(process)] == ["SIGTERM", "two"]
        daemon.secrets.set("x", b"three")
        assert [line(process), line(process)] == ["SIGTERM", "three"]


def test_a_restart_when_configuration_changes(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A change of the value counts, a change beside it doesn't."""
    with running(ctl, "--config", "X=server.port", "--on-change", "restart") as process:
        assert line(process) == "80"
        document = {"server": {"port": 80}, "other": 1}
        daemon.put("default", {common_pb2.LAYER_DEFAULT: document})
        daemon.put("default", {common_pb2.LAYER_DEFAULT: document | {"server": {"port": 81}}})
        assert [line(process), line(process)] == ["SIGTERM", "81"]


def test_a_stubborn_command_is_killed(ctl: Ctl, daemon: FakeDaemon) -> None:
    """After its grace a command that won't end is killed, and the new one starts."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart", "--grace", "100ms", program=STUBBORN) as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"two")
        assert line(process) == "two"
        os.kill(_child_of(process.pid), signal.SIGKILL)
        assert process.wait(20) == 137


def test_a_signal_on_change(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The command is told by a signal, and goes on."""
    with running(ctl, "--secret", "X=x", "--on-change", "signal:hup") as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"two")
        assert line(process) == "SIGHUP"


def test_a_version_with_the_same_value_changes_nothing(ctl: Ctl, daemon: FakeDaemon) -> None:
    """It is the value that counts: a rotation to the same one restarts nobody."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart") as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"one")
        daemon.secrets.set("x", b"two")
        assert [line(process), line(process)] == ["SIGTERM", "two"]


def test_signals_are_forwarded(ctl: Ctl) -> None:
    """What the program gets the command gets; its end is ours."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart") as process:
        assert line(process) == "one"
        process.send_signal(signal.SIGUSR1)
        assert line(process) == "SIGUSR1"
        process.send_signal(signal.SIGTERM)
        assert line(process) == "SIGTERM"
        assert process.wait(20) == 7


def test_a_daemon_that_goes_away_leaves_the_command_alone(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The command runs on, and a change after the daemon's return is heard of."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart") as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"two")
        assert [line(process), line(process)] == ["SIGTERM", "two"]
        daemon.stop()
        daemon.secrets.set("x", b"three")
        daemon.start()
        assert [line(process), line(process)] == ["SIGTERM", "three"]


def test_a_refusal_later_leaves_the_command_alone(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A value that can't be had any more, or be in an environment, is told, and the command runs on."""
    with running(ctl, "--secret", "X=x", "--on-change", "restart") as process:
        assert line(process) == "one"
        daemon.secrets.set("x", b"\0")
        assert process.stderr is not None
        assert "it has a NUL" in process.stderr.readline().decode()
        daemon.secrets.set("x", b"two")
        assert [line(process), line(process)] == ["SIGTERM", "two"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--secret", "=x"), "no secret for a variable"),
        (("--secret", "1A=x"), "no secret for a variable"),
        (("--secret", "A="), "no secret for a variable"),
        (("--config", "server.port"), "no value for a variable"),
        (("--secret", "A=x", "--config", "A=server"), "given twice"),
        (("--on-change", "signal:NOPE"), "is not restart"),
        (("--on-change", "stop"), "is not restart"),
    ],
)
def test_a_wrong_command_line(ctl: Ctl, options: tuple[str, ...], problem: str) -> None:
    """What can't be meant is a usage error, and nothing runs."""
    result = ctl("run", *options, "--", "true")
    assert result.exit_code == 2
    assert problem in result.stderr


def test_a_nul_can_be_in_no_environment(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The error says which value it is, and not what."""
    daemon.secrets.set("x", b"abc\0def")
    result = ctl("run", "--secret", "X=x", "--", "true")
    assert result.exit_code == 1
    assert "secret x in default can't be in X: it has a NUL" in result.stderr
    assert "abc" not in result.stderr


def test_what_is_not_there_is_an_error(ctl: Ctl) -> None:
    """An unknown secret or path ends before anything runs."""
    assert ctl("run", "--secret", "X=nope", "--", "true").exit_code == 1
    assert ctl("run", "--config", "X=no.such", "--", "true").exit_code == 1
    assert ctl("run").exit_code == 2


def _child_of(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()[0])
