"""`vestryd --recover`: the way back in, on the machine itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.ctl import COMMAND, ENVIRONMENT, ctl
from e2e.daemon import PATIENCE_SECONDS, Daemon, until

pytestmark = pytest.mark.e2e

UNAVAILABLE = 69
NOBODY = 65534
ALICE = {"subjects": ["user:alice-who-is-not-here"], "actions": ["*"], "resources": ["**"]}
ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}


@pytest.fixture
def locked(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs, under a policy that lets in somebody who can't come."""
    daemon = make_daemon()
    daemon.save("access.json", {"rules": {"alice": ALICE}})
    return daemon.start()


def refusal(daemon: Daemon, *arguments: str) -> str:
    """Run vestryctl, which must be refused, and return why."""
    done = subprocess.run(
        [*COMMAND, "--address", daemon.target, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def test_who_has_the_machine_gets_in_again(locked: Daemon) -> None:
    """With the daemon stopped; it is in the history and in the audit log, and the files count once they are edited."""
    assert ": no rule allows access.read on access" in refusal(locked, "access", "show")
    assert locked.run("--recover").returncode == UNAVAILABLE
    locked.stop()
    done = locked.run("--recover")
    assert done.returncode == 0, done.stderr
    assert "The built-in access policy is in force again, as version 2" in done.stdout
    locked.start()

    shown = json.loads(ctl(locked, "access", "show", "-o", "json"))
    assert (shown["version"], list(shown["document"]["rules"])) == (2, ["administrators"])
    assert [(each["layer"], each["drifted"]) for each in shown["layers"]] == [("default", True), ("runtime", False)]
    history = json.loads(ctl(locked, "access", "history", "-o", "json"))["versions"]
    assert [each["author"] for each in history] == ["vestryd --recover", "files"]
    records = json.loads(ctl(locked, "audit", "list", "--limit", "1000", "-o", "json"))["records"]
    changes = [(each["actor"], each["action"]) for each in records if each["facts"].get("version") in {1, 2}]
    assert ("vestryd --recover", "access.update") in changes
    assert ctl(locked, "audit", "verify")

    locked.save("access.json", {"rules": {"alice": ALICE, "administrators": ADMINISTRATORS}})
    until(lambda: "alice" in ctl(locked, "access", "show"), "the edited file is taken in")
    ctl(locked, "access", "rollback", "2", "--yes")


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that another user can reach; pytest's own are root's alone."""
    if os.geteuid():
        pytest.skip("only root can act for another user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "state"


def test_root_leaves_no_file_of_its_own(make_daemon: Callable[..., Daemon], state: Path) -> None:
    """What root recovers, the daemon's user can open again: nothing in the state directory is root's afterwards."""
    daemon = make_daemon(settings={"state_directory": state}).start()
    daemon.stop()
    shutil.rmtree(state / "audit")  # so that a new one has to be founded
    for path in (state, *state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    done = daemon.run("--recover")
    assert done.returncode == 0, done.stderr
    assert (state / "audit").is_dir()
    assert {path.stat().st_uid for path in state.rglob("*")} == {NOBODY}
