from __future__ import annotations

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl


def test_history_reads_pages_up_to_the_limit(ctl: Ctl) -> None:
    """Pages are joined, newest first, and --limit ends them."""
    for number in range(6):
        ctl("config", "set", "n", str(number), "-m", f"set\nto {number}")
    assert [each["version"] for each in ctl.json("config", "history")["versions"]] == [8, 7, 6, 5, 4, 3, 2, 1]
    lines = ctl("config", "history", "--limit", "4").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "8", "7", "6", "5"]
    assert lines[1].endswith("tester  update  runtime  set to 5")


def test_history_in_json_has_the_protocols_shape(ctl: Ctl) -> None:
    """Field names are the proto's, enums short, times RFC 3339."""
    first = ctl.json("config", "history")["versions"][-1]
    assert first == {
        "namespace": "default",
        "version": 1,
        "create_time": "2026-09-21T14:13:20Z",
        "author": "files",
        "message": "first",
        "cause": "file",
        "checksum": first["checksum"],
        "revision": 101,
        "rollback_of": 0,
        "changed_layers": ["default"],
    }


def test_show_prints_facts_and_layers(ctl: Ctl) -> None:
    """A version is shown with the files of its layers."""
    out = ctl("config", "show", "2").stdout
    assert out.startswith("version   2 of default\n")
    assert "environment, from /etc/vestry/production.json:\n{\n" in out
    answer = ctl.json("config", "show", "2")
    assert (answer["layers"][1]["document"], answer["document"]["server"]["port"]) == ({"server": {"port": 80}}, 80)


def test_diff_looks_like_a_diff(ctl: Ctl) -> None:
    """Between versions there is a unified diff of the pretty documents."""
    out = ctl("config", "diff", "1").stdout
    assert out.startswith("--- default version 1\n+++ default version 2\n@@ ")
    assert '-    "port": 8080\n+    "port": 80\n' in out


def test_diff_by_pointer_and_in_json(ctl: Ctl) -> None:
    """The same difference as lines by pointer, and as RFC 6902."""
    assert ctl("config", "diff", "1", "2", "--pointers").stdout == "- /server/port: 8080\n+ /server/port: 80\n"
    answer = ctl.json("config", "diff", "1")
    assert answer == {
        "from_version": 1,
        "to_version": 2,
        "patch": [{"op": "replace", "path": "/server/port", "value": 80}],
    }


def test_diff_tells_by_its_exit_code_only_when_asked(ctl: Ctl) -> None:
    """As with git diff, differences are an error only with --exit-code."""
    assert ctl("config", "diff", "1").exit_code == 0
    assert ctl("config", "diff", "1", "--exit-code").exit_code == 1
    same = ctl("config", "diff", "2", "--exit-code")
    assert (same.exit_code, same.stdout) == (0, "")


def test_rollback_asks_and_without_a_terminal_wants_yes(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Where nobody can be asked, nothing happens without --yes; the diff is shown first."""
    result = ctl("config", "rollback", "1")
    assert (result.exit_code, daemon.documents["default"].current.update.version) == (2, 2)
    assert '+    "port": 8080' in result.stderr
    assert "--yes" in result.stderr
    assert ctl("config", "rollback", "1", "--yes").stdout.endswith("default: version 3 is in force\n")
    assert daemon.documents["default"].current.rollback_of == 1


def test_rollback_asks_on_a_terminal(ctl: Ctl, daemon: FakeDaemon) -> None:
    """On a terminal the answer decides."""
    for answer, code, version in (("n\n", 1, 2), ("y\n", 0, 3)):
        terminal = ctl.at_terminal("config", "rollback", "1")
        terminal.read_until("back to version 1? ")
        terminal.type(answer)
        assert terminal.finish() == code, terminal.output
        assert daemon.documents["default"].current.update.version == version


def test_rollback_dry_run_does_not_ask(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--dry-run shows the change and ends."""
    result = ctl("config", "rollback", "1", "--dry-run")
    assert result.stdout.endswith("default: this would be version 3; nothing was changed\n")
    assert daemon.documents["default"].current.update.version == 2


def test_rollback_to_what_is_in_force_is_nothing_to_do(ctl: Ctl) -> None:
    """There is nothing to confirm then."""
    assert ctl("config", "rollback", "2").stdout == "default: nothing to change, version 2 says so already\n"


def test_unknown_versions_are_refused(ctl: Ctl) -> None:
    """The daemon's own sentence is passed on."""
    result = ctl("config", "show", "77")
    assert (result.exit_code, result.stderr) == (1, "vestryctl: config 'default' has no version 77: 1 to 2 are kept\n")
