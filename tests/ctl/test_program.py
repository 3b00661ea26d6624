from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from client.waiting import eventually_here
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl, run
from vestry.v1 import admin_pb2
from vestryctl.cli import cli

ESCAPE = "\x1b["


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every group and command."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def groups(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *path, name)


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_command_explains_itself(ctl: Ctl, path: tuple[str, ...]) -> None:
    """-h and --help say the same; each command has an example; no summary is cut off, no line too long."""
    result = ctl(*path, "-h")
    assert result.exit_code == 0
    assert result.stdout == ctl(*path, "--help").stdout
    assert "..." not in result.stdout.replace("]...", "")
    if not path or path not in set(groups(cli)):
        assert "\nExamples:\n" in result.stdout


@pytest.mark.parametrize("group", list(groups(cli)), ids=" ".join)
def test_a_group_alone_shows_its_help_and_fails(group: tuple[str, ...]) -> None:
    """Nothing was done, so the exit code is 2 and standard output empty."""
    result = run(*group)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: vestryctl")


def test_help_lists_the_exit_codes(ctl: Ctl) -> None:
    """Scripts can be written from --help."""
    out = ctl("--help").stdout
    assert all(f"\n  {code}  " in out for code in ("0", "1", "2", "3", "4", "130"))


def test_status_shows_the_daemon(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The daemon at a glance, with exit code 0 when all is well."""
    result = ctl("status")
    assert result.exit_code == 0
    assert "store        sqlite, 1.2 MiB, at revision 142\n" in result.stdout
    assert ctl.json("status")["listeners"] == [daemon.address]


def test_status_shows_how_the_secrets_do(ctl: Ctl, daemon: FakeDaemon) -> None:
    """That they are sealed; else how many there are, and what is due, overdue or damaged, if anything is."""
    assert "secrets      sealed\n" in ctl("status").stdout
    daemon.secret_figures = admin_pb2.SecretFigures(secrets=7, versions=9)
    assert "secrets      7, with 9 versions\n" in ctl("status").stdout
    daemon.secret_figures.MergeFrom(admin_pb2.SecretFigures(due=1, damaged=2))
    assert "secrets      7, with 9 versions; 1 due, 2 damaged\n" in ctl("status").stdout


def test_status_shows_what_each_method_has_answered(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The figures of requests have a table of their own."""
    method = "/vestry.v1.ConfigService/GetConfig"
    daemon.methods.append(admin_pb2.MethodFigures(method=method, calls=9, failures=2, in_flight=1, mean_seconds=0.0042))
    assert ctl("status").stdout.splitlines()[-1].split() == ["ConfigService/GetConfig", "9", "2", "1", "4.2", "ms"]


def test_status_fails_when_there_are_problems(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Problems are shown, and make the exit code 1."""
    daemon.problems.append(
        admin_pb2.Problem(component="store", message="the disk is full", since_time=Timestamp(seconds=1_790_000_000))
    )
    result = ctl("status")
    assert result.exit_code == 1
    assert "problems     1\n\nstore, for " in result.stdout
    assert "  the disk is full\n" in result.stdout


@pytest.mark.parametrize("address", ["unix:/nonexistent/v.sock", "127.0.0.1:1"])
def test_an_unreachable_daemon_is_explained(address: str) -> None:
    """The sentence names the address, the cause, and what to do; the exit code is 3."""
    result = Ctl(address)("status")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"vestryctl: can't reach vestryd at {address}: ")
    assert all(words in result.stderr for words in ("systemctl status vestryd", "--address", "VESTRY_ADDRESS"))
    assert result.stderr.count("\n") == 1


def test_the_address_comes_from_the_environment(daemon: FakeDaemon) -> None:
    """VESTRY_ADDRESS is used when --address is not given."""
    assert run("status", env={"VESTRY_ADDRESS": daemon.address}).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["config", "get", "--frobnicate"],
        ["config", "get", "a..b"],
        ["config", "get", "/~2"],
        ["config", "show", "0"],
        ["config", "show", "99999999999999999999"],
        ["--timeout", "0", "status"],
        ["--timeout", "nan", "status"],
        ["--timeout", "1 fortnight", "status"],
        ["-o", "xml", "status"],
        ["--address", "http://localhost", "status"],
        ["config", "get", "\udcff"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_explained(ctl: Ctl, arguments: list[str]) -> None:
    """The exit code is 2, with one sentence."""
    result = ctl(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("vestryctl: ")
    assert result.stderr.count("\n") == 1


def test_a_call_that_takes_too_long_is_no_answer(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--timeout bounds a call, and the exit code is 3."""
    with daemon.changed:  # the update waits for it
        result = ctl("config", "set", "a", "1", "--timeout", "200ms")
    assert result.exit_code == 3
    assert "did not answer in time" in result.stderr


def test_an_interrupt_ends_a_call_quietly(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Ctrl-C while the daemon is slow ends the program with 130 and no traceback."""
    with daemon.changed:  # the update waits for it
        process = ctl.start("config", "set", "a", "1", stderr=subprocess.PIPE)
        eventually_here(lambda: bool(daemon.updates))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")


def test_a_closed_pipe_is_silent(ctl: Ctl, daemon: FakeDaemon) -> None:
    """`vestryctl … | head -1` prints one line and no complaint."""
    for number in range(5):
        ctl("config", "set", f"key{number}", "x" * 50_000)
    process = ctl.start("config", "get", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 141


def test_a_full_disk_behind_standard_output_is_a_sentence(ctl: Ctl) -> None:
    """What can't be written is said, without a traceback."""
    with Path("/dev/full").open("w") as full:
        result = ctl.run("config", "get", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, "vestryctl: standard output: No space left on device\n")


def test_a_defect_is_a_sentence(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even what nobody thought of doesn't end in a traceback."""
    monkeypatch.setattr("vestryctl.commands.config.reading.json_value", lambda document: 1 / 0)
    result = ctl("config", "get")
    assert result.exit_code == 1
    assert result.stderr.startswith("vestryctl: this is a defect of vestryctl, please report it: ZeroDivisionError")


def test_colour_is_for_terminals(ctl: Ctl) -> None:
    """A diff is red and green on a terminal, and plain in a pipe, whatever FORCE_COLOR says."""
    terminal = ctl.at_terminal("config", "diff", "1", "--pointers")
    assert terminal.finish() == 0
    assert "\x1b[31m- /server/port: 8080\x1b[0m\n\x1b[32m+ /server/port: 80\x1b[0m\n" in terminal.output
    assert ESCAPE not in ctl.run("config", "diff", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "environment"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})]
)
def test_colour_can_be_turned_off(ctl: Ctl, arguments: list[str], environment: dict[str, str]) -> None:
    """--no-color, NO_COLOR and a dumb terminal are honoured by diffs, tables and documents alike."""
    for command in (["config", "diff", "1"], ["config", "history"], ["config", "get"]):
        terminal = ctl.at_terminal(*command, *arguments, **environment)
        assert terminal.finish() == 0
        assert ESCAPE not in terminal.output


def test_tables_fit_a_terminal(ctl: Ctl) -> None:
    """A long message breaks its own column, and nothing is lost."""
    message = " ".join(f"word{number}" for number in range(40))
    ctl("config", "set", "a", "1", "-m", message)
    terminal = ctl.at_terminal("config", "history", "--no-color", COLUMNS="80")
    terminal.finish()
    assert all(len(line) <= 80 for line in terminal.output.splitlines())
    assert all(word in terminal.output for word in message.split())


def test_no_column_vanishes_on_a_narrow_terminal(ctl: Ctl) -> None:
    """However narrow it is, every column keeps some of its width, and every value can be read."""
    terminal = ctl.at_terminal("config", "explain", "--no-color", COLUMNS="50")
    terminal.finish()
    assert terminal.output.split("\n")[0].split() == ["POINTER", "VALUE", "LAYER", "FILE"]
    assert "".join(line[13:26].strip() for line in terminal.output.split("\n")[1:3]) == str(2**64 + 1)


def test_what_others_wrote_cannot_drive_the_terminal(ctl: Ctl) -> None:
    """Escape sequences in messages and values come out spelled."""
    ctl("config", "set", "a", "x\x1b[2Jy\u202e", "-m", "m\x1b]0;title\x07")
    for command in (["config", "history"], ["config", "get", "a"], ["config", "diff", "1"], ["config", "explain"]):
        terminal = ctl.at_terminal(*command, "--no-color")
        terminal.finish()
        assert not {"\x1b", "\x07", "\u202e"} & set(terminal.output)
    assert ctl("config", "get", "a").stdout == "x\x1b[2Jy\u202e\n"


def test_json_output_is_ascii_where_the_encoding_is(ctl: Ctl) -> None:
    """Where standard output can't say é, JSON says it with an escape."""
    ctl("config", "set", "a", "é")
    out = ctl.run("config", "get", "a", "-o", "json", env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(out.stdout) == "é"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(ctl: Ctl, shell: str) -> None:
    """Each shell gets its script."""
    assert "_VESTRYCTL_COMPLETE" in ctl("completion", shell).stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vestryctl conf", ["config"]),
        ("vestryctl config ro", ["rollback"]),
        ("vestryctl --address {address} config get -n bil", ["billing"]),
        ("vestryctl --address {address} config get ser", ["server", "server.host", "server.port"]),
        ("vestryctl --address {address} config get -n billing c", ["currency"]),
        ("vestryctl --address unix:/nonexistent/v.sock config get ser", []),
    ],
)
def test_the_shell_completes_commands_names_and_paths(ctl: Ctl, line: str, expected: list[str]) -> None:
    """Commands are known; namespaces and paths are asked from the daemon, and nothing is said when there is none."""
    words = line.format(address=ctl.address)
    environment = {
        "_VESTRYCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = run(env=environment)
    assert [line.removeprefix("plain,") for line in result.stdout.splitlines() if line] == expected
    assert result.stderr == ""


def test_version_needs_no_daemon() -> None:
    """The program's own version is known offline, as a command and as an option."""
    ctl = Ctl("unix:/nonexistent/v.sock")
    assert ctl("version").stdout.startswith("vestryctl ")
    assert ctl("--version").stdout.split() == ["vestryctl", ctl.json("version")["version"]]
