from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2


class Editor:
    """A scripted editor: each time that it is opened it writes the next text, and keeps what it was shown."""

    def __init__(self, directory: Path) -> None:
        self._script = directory / "editor.py"
        self._texts = directory / "texts.json"
        self._shown = directory / "shown.json"
        self._shown.write_text("[]")

    def will_write(self, *texts: str | None) -> str:
        """Set what to write, None to leave the file alone, and return the command."""
        self._texts.write_text(json.dumps(texts))
        self._script.write_text(
            "import json, sys, pathlib\n"
            f"texts, shown = pathlib.Path({str(self._texts)!r}), pathlib.Path({str(self._shown)!r})\n"
            "file = pathlib.Path(sys.argv[1])\n"
            "shown.write_text(json.dumps([*json.loads(shown.read_text()), file.read_text()]))\n"
            "text, *rest = json.loads(texts.read_text())\n"
            "texts.write_text(json.dumps(rest))\n"
            "text is None or file.write_text(text)\n"
        )
        return f"{shlex.quote(sys.executable)} {shlex.quote(str(self._script))}"

    @property
    def shown(self) -> list[str]:
        """What the file held each time."""
        shown: list[str] = json.loads(self._shown.read_text())
        return shown


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """An editor, and a directory of its own for drafts."""
    (tmp_path / "drafts").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "drafts"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "drafts"))
    return Editor(tmp_path)


def drafts(tmp_path: Path) -> list[Path]:
    """Return the drafts that were left behind."""
    return list((tmp_path / "drafts").iterdir())


def runtime(daemon: FakeDaemon) -> object:
    """Return the runtime layer of `default`."""
    return daemon.documents["default"].current.layers.get(common_pb2.LAYER_RUNTIME)


def test_edit_replaces_the_runtime_layer(ctl: Ctl, daemon: FakeDaemon, editor: Editor, tmp_path: Path) -> None:
    """What the editor leaves is the new layer, sent for the version that was read; the draft is gone."""
    ctl("config", "set", "server.port", "99")
    command = editor.will_write('# a comment\n{"server": {"port": 100}}\n')
    result = ctl("config", "edit", "--yes", "-m", "why", env={"EDITOR": command})
    assert (result.exit_code, runtime(daemon)) == (0, {"server": {"port": 100}})
    assert '"port": 99' in editor.shown[0]
    assert (daemon.updates[-1].expected_version, daemon.updates[-1].message) == (3, "why")
    assert drafts(tmp_path) == []


def test_edit_asks_after_it_has_shown_the_difference(ctl: Ctl, daemon: FakeDaemon, editor: Editor) -> None:
    """The diff is of the effective document; e opens the editor again, y puts it in force."""
    command = editor.will_write('{"server": {"port": 100}}', '{"server": {"port": 101}}')
    terminal = ctl.at_terminal("config", "edit", "--no-color", EDITOR=command)
    terminal.read_until('-    "port": 80\n+    "port": 100\n')
    terminal.read_until("[n]: ")
    terminal.type("e\n")
    terminal.read_until('+    "port": 101')
    terminal.read_until("[n]: ")
    terminal.type("y\n")
    assert terminal.finish() == 0, terminal.output
    assert runtime(daemon) == {"server": {"port": 101}}


def test_edit_opens_again_with_what_is_wrong(ctl: Ctl, daemon: FakeDaemon, editor: Editor) -> None:
    """Bad syntax and broken rules come back as comments above the text as it was written."""
    command = editor.will_write("{\n  oops", '{"server": {"port": 70000}}', '{"server": {"port": 1}}')
    assert ctl("config", "edit", "--yes", env={"VISUAL": command}).exit_code == 0
    assert "#   line " in editor.shown[1]
    assert "\n{\n  oops\n" in editor.shown[1]
    assert "#   /server/port: 70000 is more than 65535 [maximum]\n" in editor.shown[2]
    assert editor.shown[2].count("#   ") == 1
    assert runtime(daemon) == {"server": {"port": 1}}


def test_the_line_of_a_syntax_error_is_the_files(ctl: Ctl, editor: Editor) -> None:
    """Comments are counted, so that the editor's own line numbers fit."""
    command = editor.will_write("# one\n# two\n{\n  oops\n}\n", None)
    ctl("config", "edit", "--yes", env={"EDITOR": command})
    assert "#   line 4:3: " in editor.shown[1]


def test_giving_up_keeps_the_draft(ctl: Ctl, daemon: FakeDaemon, editor: Editor, tmp_path: Path) -> None:
    """An unchanged file after a failure ends the loop; what was written is kept, readable by its owner alone."""
    command = editor.will_write('{"server": {"port": 70000}}', None)
    result = ctl("config", "edit", "--yes", env={"EDITOR": command})
    [draft] = drafts(tmp_path)
    assert result.exit_code == 1
    assert f"the draft is kept in {draft}" in result.stderr
    assert "70000" in draft.read_text()
    assert draft.stat().st_mode & 0o777 == 0o600
    assert runtime(daemon) is None


def test_an_unchanged_layer_changes_nothing(ctl: Ctl, daemon: FakeDaemon, editor: Editor, tmp_path: Path) -> None:
    """Leaving the editor without a change is no error, and leaves nothing behind."""
    result = ctl("config", "edit", env={"EDITOR": editor.will_write(None)})
    assert (result.exit_code, daemon.updates, drafts(tmp_path)) == (0, [], [])


def test_a_change_in_between_is_a_conflict(ctl: Ctl, daemon: FakeDaemon, editor: Editor, tmp_path: Path) -> None:
    """Somebody else's change is never overwritten; the draft is kept."""
    terminal = ctl.at_terminal("config", "edit", EDITOR=editor.will_write('{"a": 1}'))
    terminal.read_until("Put this in force")
    ctl("config", "set", "b", "2")
    terminal.type("y\n")
    assert terminal.finish() == 4
    assert "is at version 3, not 2" in terminal.output
    assert len(drafts(tmp_path)) == 1
    assert runtime(daemon) == {"b": 2}


@pytest.mark.parametrize(
    ("command", "problem"), [("false", "status 1"), ("/no/such/editor", "set VISUAL"), ("'", "set VISUAL")]
)
def test_an_editor_that_fails_changes_nothing(
    ctl: Ctl, daemon: FakeDaemon, editor: Editor, tmp_path: Path, command: str, problem: str
) -> None:
    """A broken editor is a sentence, and leaves no draft that nobody wrote."""
    result = ctl("config", "edit", env={"EDITOR": command})
    assert (result.exit_code, daemon.updates, drafts(tmp_path)) == (1, [], [])
    assert problem in result.stderr


def test_yaml_shows_the_document_in_force_as_a_comment(ctl: Ctl, daemon: FakeDaemon, editor: Editor) -> None:
    """With --yaml the layer is YAML, and what is in force stands below as a comment."""
    command = editor.will_write("server:\n  # lower\n  port: 101\nword: NO\n")
    assert ctl("config", "edit", "--yaml", "--yes", env={"EDITOR": command}).exit_code == 0
    assert "# In force now, all layers folded:\n# big: 18446744073709551617\n" in editor.shown[0]
    assert runtime(daemon) == {"server": {"port": 101}, "word": "NO"}
