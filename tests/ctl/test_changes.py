from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2


def runtime(daemon: FakeDaemon) -> object:
    """Return the runtime layer of `default`."""
    return daemon.documents["default"].current.layers.get(common_pb2.LAYER_RUNTIME)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8443", 8443),
        ("true", True),
        ("1.5", 1.5),
        ('"7"', "7"),
        ("info", "info"),
        ('{"a": [1]}', {"a": [1]}),
        ("NaN", "NaN"),
    ],
)
def test_set_takes_json_or_else_a_string(ctl: Ctl, daemon: FakeDaemon, value: str, expected: object) -> None:
    """VALUE is JSON if it reads as JSON, and otherwise a string."""
    assert ctl("config", "set", "new.key", value).exit_code == 0
    assert runtime(daemon) == {"new": {"key": expected}}


def test_set_string_forces_a_string(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--string keeps what reads as JSON a string."""
    ctl("config", "set", "/release", "2024", "--string")
    assert runtime(daemon) == {"release": "2024"}


def test_set_shows_what_changed_and_sends_the_message(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The change of the effective document is printed, and the message goes into the history."""
    result = ctl("config", "set", "server.port", "99", "-m", "behind the proxy")
    assert result.stdout == "- /server/port: 80\n+ /server/port: 99\ndefault: version 3 is in force\n"
    assert daemon.documents["default"].facts(3).message == "behind the proxy"


def test_set_in_json_is_the_answer(ctl: Ctl) -> None:
    """For machines the answer is printed as it came, the patch as JSON."""
    answer = ctl.json("config", "set", "server.port", "99")
    assert (answer["version"], answer["changed"]) == (3, True)
    assert answer["patch"] == [{"op": "replace", "path": "/server/port", "value": 99}]


def test_set_an_element_sets_the_array_as_it_is_in_force(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A merge patch can't reach into an array, so the whole array is sent, on the version that it was read at."""
    assert ctl("config", "set", "providers.1.name", "z").exit_code == 0
    assert runtime(daemon) == {"providers": [{"name": "a"}, {"name": "z"}]}
    assert daemon.updates[-1].expected_version == 2


def test_set_appends_with_a_dash(ctl: Ctl, daemon: FakeDaemon) -> None:
    """As in RFC 6902, - names the place behind the last element."""
    ctl("config", "set", "providers.-", '{"name": "c"}')
    assert runtime(daemon) == {"providers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}


def test_set_refuses_an_element_that_is_not_there(ctl: Ctl, daemon: FakeDaemon) -> None:
    """An index out of range is refused before anything is sent."""
    result = ctl("config", "set", "providers.7", "1")
    assert (result.exit_code, daemon.updates) == (1, [])
    assert "its elements are 0 to 1" in result.stderr


@pytest.mark.parametrize("value", ['{"a": 1', '["a"', '"a', '{"a": 1, "a": 2}'])
def test_set_refuses_what_only_begins_like_json(ctl: Ctl, daemon: FakeDaemon, value: str) -> None:
    """Broken JSON is a slip of the hand, not a string."""
    result = ctl("config", "set", "a", value)
    assert (result.exit_code, daemon.updates) == (2, [])
    assert "--string" in result.stderr


def test_set_refuses_null(ctl: Ctl) -> None:
    """In a merge patch null would unset, so it is refused with a hint."""
    result = ctl("config", "set", "a", "null")
    assert result.exit_code == 2
    assert "config unset" in result.stderr


def test_set_lists_violations(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A refused document is explained, pointer by pointer, and the exit code is 1."""
    result = ctl("config", "set", "server.port", "70000")
    assert result.exit_code == 1
    assert result.stderr == (
        "vestryctl: config 'default' would be invalid, so nothing was changed:\n"
        "  /server/port: 70000 is more than 65535 [maximum]\n"
    )


def test_a_refused_argument_is_told_once(ctl: Ctl) -> None:
    """What names a field of the request, and no place in a document, is one sentence."""
    result = ctl("config", "set", "a", "1", "-n", "UPPER")
    assert (result.exit_code, result.stderr) == (1, "vestryctl: namespace: 'UPPER' can't be used\n")


def test_a_stale_expected_version_is_a_conflict(ctl: Ctl) -> None:
    """The exit code of a conflict is 4."""
    result = ctl("config", "set", "a", "1", "--expected-version", "1")
    assert result.exit_code == 4
    assert result.stderr == "vestryctl: config 'default' is at version 2, not 1\n"


def test_dry_run_changes_nothing(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--dry-run shows the change, and leaves the version."""
    result = ctl("config", "set", "server.port", "99", "--dry-run")
    assert "+ /server/port: 99\n" in result.stdout
    assert daemon.documents["default"].current.update.version == 2


def test_a_repeated_set_says_that_nothing_changes(ctl: Ctl) -> None:
    """Setting what is set already is fine, and makes no version."""
    ctl("config", "set", "server.port", "99")
    result = ctl("config", "set", "server.port", "99")
    assert (result.exit_code, result.stdout) == (0, "default: nothing to change, version 3 says so already\n")


def test_unset_shows_the_other_layers_again(ctl: Ctl, daemon: FakeDaemon) -> None:
    """After unset the value of the files is in force."""
    ctl("config", "set", "server.port", "99")
    assert ctl("config", "unset", "server.port").stdout.startswith("- /server/port: 99\n+ /server/port: 80\n")
    assert runtime(daemon) == {"server": {}}


def test_unset_refuses_an_element(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A patch that unsets an element would empty the array, so it is never sent."""
    assert ctl("config", "unset", "providers.0").exit_code == 1
    assert daemon.updates == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.json", '{"a": {"b": 1}}'), ("p.yaml", "a:\n  b: 1\n"), ("p.toml", "[a]\nb = 1\n"), ("p", "a: {b: 1}")],
)
def test_patch_reads_files_by_their_ending(
    ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, name: str, content: str
) -> None:
    """JSON, YAML and TOML are all taken; without an ending, JSON or YAML."""
    file = tmp_path / name
    file.write_text(content)
    assert ctl("config", "patch", str(file)).exit_code == 0
    assert runtime(daemon) == {"a": {"b": 1}}


def test_patch_reads_standard_input(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Without a file, standard input is read."""
    assert (
        ctl("config", "patch", "-n", "billing", stdin='{"currency": null, "big": 18446744073709551617}').exit_code == 0
    )
    assert json.loads(daemon.updates[-1].merge_patch) == {"currency": None, "big": 2**64 + 1}


def test_patch_must_be_an_object(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A patch that is no object would replace the layer, so it is never sent."""
    assert ctl("config", "patch", stdin="[1]").exit_code == 1
    assert daemon.updates == []
