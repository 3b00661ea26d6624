from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of systemd's tools, or skip where it isn't installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as an installation writes it, with a program that exists."""
    program = tmp_path / "vestryd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "vestryd.service"
    path.write_text((SYSTEMD / "vestryd.service").read_text().replace("@bindir@", str(tmp_path)))
    return path


def test_systemd_has_nothing_to_say_about_the_unit(unit: Path) -> None:
    """Every line of the unit is understood by systemd."""
    verified = run("systemd-analyze", "verify", unit)
    assert verified.stdout + verified.stderr == ""
    assert verified.returncode == 0


def test_unit_is_hardened(unit: Path) -> None:
    """The unit's exposure is 1.1 of 10 at most, by systemd's own measure; 0.2 of it is to see the uids of its callers."""
    measured = run("systemd-analyze", "security", "--offline=true", "--threshold=11", "--no-pager", unit)
    assert measured.returncode == 0, measured.stdout
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", measured.stdout)
    assert exposure
    assert float(exposure[1]) <= 1.1


def test_user_and_directories_are_made(tmp_path: Path) -> None:
    """The user, the group and the directories come out as the unit expects them."""
    if os.geteuid():
        pytest.skip("only root can make users, if only in a directory")
    (tmp_path / "etc").mkdir()
    for command, name in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        options = [f"--root={tmp_path}", *(["--create"] if name == "tmpfiles" else [])]
        made = run(command, *options, SYSTEMD / f"vestryd.{name}")
        assert made.returncode == 0, made.stderr
    (user,) = (line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("vestry:"))
    state = (tmp_path / "var/lib/vestry").stat()
    assert user.split(":")[2:4] == [str(state.st_uid), str(state.st_gid)]
    assert state.st_mode & 0o777 == 0o700
    assert (tmp_path / "etc/vestry/namespaces").stat().st_mode & 0o777 == 0o755
