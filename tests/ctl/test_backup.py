from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl


@pytest.fixture
def vestryd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vestryd on the PATH that writes its arguments down; returns where. It refuses a file named bad.db."""
    log = tmp_path / "arguments.json"
    program = tmp_path / "bin" / "vestryd"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"pathlib.Path({str(log)!r}).write_text(json.dumps(sys.argv[1:]))\n"
        "sys.exit('bad.db' in sys.argv[2])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return log


def test_create_writes_the_whole_store_for_its_owner_alone(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """The file is complete, mode 0600, and nothing else is left in the directory."""
    file = tmp_path / "out" / "b.db"
    file.parent.mkdir()
    result = ctl("backup", "create", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: 195.3 KiB, the store at revision 142\n")
    assert file.read_bytes() == daemon.backup
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_create_in_json(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """For machines: the file, its size, the revision."""
    answer = ctl.json("backup", "create", str(tmp_path / "b.db"))
    assert (answer["bytes"], answer["revision"]["revision"]) == (len(daemon.backup), 142)


def test_create_does_not_overwrite_unless_forced(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """An existing file, or a dangling link, is in the way until --force."""
    file = tmp_path / "b.db"
    file.symlink_to(tmp_path / "elsewhere")
    result = ctl("backup", "create", str(file))
    assert (result.exit_code, file.is_symlink()) == (1, True)
    assert "--force" in result.stderr
    assert ctl("backup", "create", str(file), "--force").exit_code == 0
    assert file.read_bytes() == daemon.backup
    assert not (tmp_path / "elsewhere").exists()


def test_a_backup_that_ends_early_leaves_nothing(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Less than was promised is no backup."""
    daemon.backup_total = len(daemon.backup) + 1
    file = tmp_path / "out" / "b.db"
    file.parent.mkdir()
    result = ctl("backup", "create", str(file))
    assert (result.exit_code, list(file.parent.iterdir())) == (1, [])
    assert "ended early" in result.stderr


@pytest.mark.parametrize("name", ["", "no/such/b.db"])
def test_create_where_no_file_can_be(ctl: Ctl, tmp_path: Path, name: str) -> None:
    """A directory in the way, or one that is missing, is a sentence."""
    result = ctl("backup", "create", str(tmp_path / name), "--force")
    assert result.exit_code == 1
    assert result.stderr.startswith("vestryctl: can't write the backup")


def test_restore_runs_vestryd(ctl: Ctl, vestryd: Path) -> None:
    """The daemon's own program does the work, with the settings and the state that were named."""
    assert ctl("backup", "restore", "b.db", "--settings", "v.toml", "--state-directory", "/s", "--yes").exit_code == 0
    assert json.loads(vestryd.read_text()) == ["--restore", "b.db", "--settings", "v.toml", "--state-directory", "/s"]


def test_restore_reports_that_vestryd_refused(ctl: Ctl, vestryd: Path) -> None:
    """The daemon's program says why on standard error; the program ends with 1."""
    result = ctl("backup", "restore", "bad.db", "--yes")
    assert result.exit_code == 1
    assert "its exit status is 1" in result.stderr


def test_restore_asks_first(ctl: Ctl, vestryd: Path) -> None:
    """Without --yes, and nobody to ask, nothing is run."""
    assert ctl("backup", "restore", "b.db").exit_code == 2
    assert not vestryd.exists()


def test_restore_without_vestryd_says_so(ctl: Ctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without the daemon there is a clear sentence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "vestryctl")])
    result = ctl("backup", "restore", "b.db", "--yes")
    assert result.exit_code == 1
    assert "can't find vestryd" in result.stderr
