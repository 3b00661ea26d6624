from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.waiting import eventually_here
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2
from vestryctl.failures import Failure
from vestryctl.templates import Template


@pytest.fixture(autouse=True)
def _secrets(daemon: FakeDaemon) -> None:
    daemon.secrets.set("x", b'o"ne')
    daemon.secrets.set("key", b"billing's", namespace="billing")
    daemon.secrets.set("binary", b"\xff")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('port = {{ config "server.port" }}\n', "port = 80\n"),
        ('{{config "/server/host"}}', "0.0.0.0"),
        ('{{ config "server" }}', '{"host": "0.0.0.0", "port": 80}'),
        ('{{ secret "x" }}', 'o"ne'),
        ('{{ secret "x" | json }}', '"o\\"ne"'),
        ('{{ secret "key" "billing" }} {{ config "currency" "billing" | json }}', 'billing\'s "EUR"'),
        ('{{ env "SOME" }}', "thing"),
        ('{{ "{{" }} }} { {', "{{ }} { {"),
        ('{{\n  env\n  "SOME"\n}}', "thing"),
        ("", ""),
    ],
)
def test_what_a_template_may_hold(ctl: Ctl, template: str, expected: str) -> None:
    """Values of configuration, of secrets, of the environment, and braces."""
    result = ctl("render", "-", stdin=template, env={"SOME": "thing"})
    assert (result.exit_code, result.stdout) == (0, expected), result.stderr


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a\nb {{ nothing }}", "standard input:2:3: a place is"),
        ('{{ secret "x"', "standard input:1:1: a place is"),
        ("{{ secret 'x' }}", "standard input:1:1: a place is"),
        ('{{ shell "ls" }}', "standard input:1:1: 'shell' is unknown"),
        ('{{ env "A" "B" }}', "only config and secret take a namespace"),
        ('{{ secret "x" | base64 }}', "the filter 'base64' is unknown"),
        ('{{ secret "\\q" }}', "an escape that JSON doesn't know"),
        ('{{ config "a..b" }}', "standard input:1:1: 'a..b' is no path"),
        ('\n{{ secret "nope" }}', "standard input:2:1: there is no secret 'nope'"),
        ('{{ config "nope" }}', "standard input:1:1: nothing at '/nope'"),
        ('{{ env "NOPE" }}', "standard input:1:1: the environment has no NOPE"),
        ('{{ secret "binary" }}', "secret binary in default is not UTF-8 text"),
    ],
)
def test_an_error_names_line_and_column(ctl: Ctl, template: str, problem: str) -> None:
    """Whatever is wrong is told with its place, and nothing is printed."""
    result = ctl("render", "-", stdin=template)
    assert (result.exit_code, result.stdout) == (1, "")
    assert problem in result.stderr


@given(text=st.text().filter(lambda text: "{{" not in text))
def test_text_without_places_stays_as_it_is(text: str) -> None:
    """What isn't a place is not touched."""
    assert Template(text, "t").render(lambda _: "") == text


@given(value=st.text(), name=st.text(st.characters(codec="utf-8"), min_size=1))
def test_values_are_never_read_as_templates(value: str, name: str) -> None:
    """A value that looks like a place is only text; any name can be written as a JSON string."""
    text = f"{{{{ secret {json.dumps(name)} }}}}"
    template = Template(text, "t")
    assert [place.name for place in template.places] == [name]
    assert template.render(lambda _: value + text) == value + text


@given(text=st.text(st.sampled_from('{}" |secrtjon\\\n')))
def test_no_text_breaks_the_parser(text: str) -> None:
    """A template is read, or refused with a sentence."""
    try:
        Template(text, "t")
    except Failure as error:
        assert str(error).startswith("t:")  # noqa: PT017 - either outcome is fine


def test_a_file_is_private_and_written_only_when_it_changes(ctl: Ctl, tmp_path: Path) -> None:
    """Mode 0600 with secrets in it; a second run leaves the file alone, also its time."""
    template, file = tmp_path / "t", tmp_path / "out"
    template.write_text('{{ secret "x" }}')
    assert ctl("render", str(template), "-f", str(file)).stderr == f"vestryctl: {file} is written\n"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ('o"ne', 0o600)
    before = file.stat()
    assert ctl("render", str(template), "-f", str(file)).stderr == ""
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    file.chmod(0o644)
    ctl("render", str(template), "-f", str(file))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_file(ctl: Ctl, tmp_path: Path) -> None:
    """What was there stays when a value can't be had."""
    file = tmp_path / "out"
    file.write_text("before")
    assert ctl("render", "-", "-f", str(file), stdin='{{ secret "nope" }}').exit_code == 1
    assert file.read_text() == "before"
    assert list(tmp_path.glob(".out*")) == []


def test_a_command_runs_when_the_file_has_changed(ctl: Ctl, tmp_path: Path) -> None:
    """--exec runs without a shell, only after a change; its failure is told."""
    file, log = tmp_path / "out", tmp_path / "log"
    command = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"a\").write(sys.argv[2])' {log} $HOME;"
    for _ in range(2):
        assert ctl("render", "-", "-f", str(file), "--exec", command, stdin="text").exit_code == 0
    assert log.read_text() == "$HOME;"
    result = ctl("render", "-", "-f", str(file), "--exec", "false", stdin="other")
    assert (result.exit_code, "its exit status is 1" in result.stderr) == (1, True)


def test_the_command_does_not_get_the_callers_token(ctl: Ctl, tmp_path: Path) -> None:
    """It is told that the file has changed, and gets no right to more than is in it."""
    log = tmp_path / "log"
    command = f"{sys.executable} -c 'import os, sys; open(sys.argv[1], \"w\").write(str(sorted(os.environ)))' {log}"
    result = ctl(
        "render", "-", "-f", str(tmp_path / "out"), "--exec", command, stdin="t", env={"VESTRY_TOKEN": "token"}
    )
    assert result.exit_code == 0, result.stderr
    assert "HOME" in log.read_text()
    assert "VESTRY_TOKEN" not in log.read_text()


def test_a_watch_keeps_the_file_in_step(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """A rotation, or a change of configuration, is in the file soon; what fails leaves it as it is."""
    template, file = tmp_path / "t", tmp_path / "out"
    template.write_text('{{ secret "x" }} {{ config "server.port" }}')
    options = ("render", str(template), "-f", str(file), "--watch")
    with ctl.start(*options, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        eventually_here(lambda: file.exists() and file.read_text() == 'o"ne 80', seconds=20)
        daemon.secrets.set("x", b"two")
        eventually_here(lambda: file.read_text() == "two 80")
        daemon.secrets.set("x", b"\xff")
        assert process.stderr is not None
        while "stays as it is" not in (said := process.stderr.readline().decode()):
            assert "is written" in said
        daemon.put("default", {common_pb2.LAYER_DEFAULT: {"server": {"port": 81}}})
        daemon.secrets.set("x", b"three")
        eventually_here(lambda: file.read_text() == "three 81")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_a_watch_needs_a_file(ctl: Ctl) -> None:
    """Standard output can't be kept in step; an unclosed quote is a usage error."""
    assert ctl("render", "-", "--watch", stdin="").exit_code == 2
    assert ctl("render", "-", "--exec", "true", stdin="").exit_code == 2
    assert ctl("render", "-", "-f", "x", "--exec", "'", stdin="").exit_code == 2
