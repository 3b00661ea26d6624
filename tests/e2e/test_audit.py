"""The audit log of a real daemon, looked at from outside and tampered with on its disk."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e.ctl import COMMAND, ENVIRONMENT
from e2e.daemon import PATIENCE_SECONDS, Daemon, until
from vestry.v1.admin_pb2 import CreateBackupRequest, GetStatusRequest

pytestmark = pytest.mark.e2e

ME = f"user:{getpass.getuser()}"
KILLS = 4
WRITERS = 4
LOAD_SECONDS = 0.3


class Auditor:
    """A person with vestryctl, who remembers what was seen."""

    def __init__(self, home: Path, daemon: Daemon) -> None:
        self._daemon = daemon
        self._environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(home), "PYTHONWARNINGS": "error"}

    def __call__(self, *arguments: str, target: str = "") -> subprocess.CompletedProcess[str]:
        """Run `vestryctl audit …`."""
        return subprocess.run(
            [*COMMAND, "--address", target or self._daemon.target, "audit", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def verdict(self, *arguments: str) -> dict[str, Any]:
        """Verify, and return the verdict; the exit code must be in accord with it."""
        done = self("verify", *arguments, "-o", "json")
        verdict: dict[str, Any] = json.loads(done.stdout or "null")
        assert done.returncode == (0 if verdict and verdict["intact"] else 1), done.stderr
        return verdict

    def records(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the records, oldest first."""
        done = self("list", "--limit", "100000", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return list(reversed(json.loads(done.stdout)["records"]))


@pytest.fixture
def auditor(daemon: Daemon, tmp_path: Path) -> Auditor:
    """Somebody who looks at the log of `daemon`."""
    return Auditor(tmp_path / "home", daemon)


def segment(daemon: Daemon) -> Path:
    """Return the first file of the log."""
    return daemon.state / "audit" / "audit-000000000001.jsonl"


def settled(auditor: Auditor, count: int) -> list[dict[str, Any]]:
    """Return the records once there are so many."""
    return until(lambda: found if len(found := auditor.records()) >= count else None, f"{count} records") or []


def test_what_was_done_is_in_the_log(daemon: Daemon, auditor: Auditor, tmp_path: Path) -> None:
    """Start, files, a change, a rollback, a refusal and a backup; the log verifies, and again after a restart."""
    daemon.update({"name": "changed"}, message="why")
    daemon.update({"name": "again"})
    backup = [*COMMAND, "--address", daemon.target]
    subprocess.run([*backup, "config", "rollback", "2", "--yes"], env=ENVIRONMENT, check=True, capture_output=True)
    daemon.save("default.json", b"{")
    until(lambda: daemon.status().HasField("rejection"), "the file is refused")
    subprocess.run(
        [*backup, "backup", "create", str(tmp_path / "b.db")], env=ENVIRONMENT, check=True, capture_output=True
    )

    told = [(one["actor"], one["action"], one["outcome"], one["facts"].get("version")) for one in settled(auditor, 8)]
    assert told == [
        ("vestryd", "keyring.found", "allowed", None),
        ("vestryd", "daemon.start", "allowed", daemon.lines("vestryd.ready")[0]["version"]),
        ("files", "config.reload", "allowed", 1),
        (ME, "config.update", "allowed", 2),
        (ME, "config.update", "allowed", 3),
        (ME, "config.rollback", "allowed", 4),
        ("files", "config.reload", "failed", None),
        (ME, "admin.backup", "allowed", None),
    ]
    logged = {line["request_id"] for line in daemon.lines("request")}
    assert {one["request_id"] for one in auditor.records("--actor", ME)} <= logged
    assert auditor.verdict()["records"] == 8

    daemon.stop()
    daemon.start()
    assert [one["action"] for one in settled(auditor, 12)][8:] == [
        "daemon.stop",
        "keyring.unseal",
        "daemon.start",
        "config.reload",
    ]
    assert auditor.verdict("--verification-key", str(daemon.state / "audit" / "verification.key"))["macs_checked"]


def test_tail_shows_a_change_as_it_happens(daemon: Daemon, auditor: Auditor) -> None:
    """And goes on over a restart, without a gap."""
    settled(auditor, 3)
    command = [*COMMAND, "--address", daemon.target, "audit", "tail", "--after", "3", "-o", "json"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as tail:
        assert tail.stdout
        daemon.update({"name": "one"})
        shown = [json.loads(tail.stdout.readline())]
        daemon.stop()
        daemon.start()
        daemon.update({"name": "two"})
        while shown[-1]["facts"].get("version") != 3:
            shown.append(json.loads(tail.stdout.readline()))
        tail.kill()
    assert [one["sequence"] for one in shown] == list(range(4, 4 + len(shown)))


def test_one_byte_changed_on_disk_is_named(daemon: Daemon, auditor: Auditor) -> None:
    """By the record, from the daemon and from the directory alike."""
    for number in range(5):
        daemon.update({"name": f"n{number}"})
    settled(auditor, 8)
    assert auditor.verdict()["intact"]
    lines = segment(daemon).read_bytes().splitlines(keepends=True)
    at = sum(map(len, lines[:3])) + lines[3].index(b"user:")
    with segment(daemon).open("r+b") as file:
        file.seek(at)
        file.write(b"U")
    for arguments in ((), (str(segment(daemon).parent), "--public-key", str(daemon.state / "audit" / "signing.pub"))):
        problem = auditor.verdict(*arguments)["problem"]
        assert (problem["file"], problem["line"], problem["sequence"]) == (segment(daemon).name, 5, 5)
    macs = auditor.verdict("--verification-key", str(daemon.state / "audit" / "verification.key"))["problem"]
    assert (macs["line"], macs["kind"]) == (4, "mac")


def test_an_older_copy_put_back_is_found_by_whoever_remembers(daemon: Daemon, auditor: Auditor, tmp_path: Path) -> None:
    """The daemon can't know, and a first look can't either."""
    daemon.stop()
    shutil.copytree(daemon.state / "audit", tmp_path / "older")
    daemon.start()
    daemon.update({"name": "changed"})
    settled(auditor, 5)
    assert auditor.verdict()["intact"]
    daemon.stop()
    shutil.rmtree(daemon.state / "audit")
    (tmp_path / "older").rename(daemon.state / "audit")
    daemon.start()
    assert auditor.verdict()["problem"]["kind"] == "went-backwards"
    assert Auditor(tmp_path / "elsewhere", daemon).verdict()["intact"]


def test_a_log_that_was_removed_is_found_by_whoever_remembers(daemon: Daemon, auditor: Auditor) -> None:
    """The new one is signed by another key; what the store still knows is recorded in it again."""
    daemon.update({"name": "changed"})
    settled(auditor, 4)
    assert auditor.verdict()["intact"]
    daemon.stop()
    shutil.rmtree(daemon.state / "audit")
    daemon.start()
    assert [one["action"] for one in settled(auditor, 4)] == [
        "keyring.unseal",
        "daemon.start",
        "config.reload",
        "config.update",
    ]
    done = auditor("verify")
    assert (done.returncode, "another key" in done.stderr) == (1, True)


def test_a_log_that_was_cut_stops_only_what_needs_a_record(daemon: Daemon, tmp_path: Path) -> None:
    """The daemon says what it found and repairs nothing; configuration goes on, and a backup is refused."""
    daemon.stop()
    lines = segment(daemon).read_bytes().splitlines(keepends=True)
    segment(daemon).write_bytes(b"".join(lines[:-1]))
    daemon.start()
    assert len(daemon.lines("audit.unusable")) == 1
    assert ["nothing can be recorded" in one for one in problems(daemon)] == [True]
    assert daemon.update({"name": "changed"}).changed
    with pytest.raises(grpc.RpcError, match="audit"):
        list(daemon.admin.CreateBackup(CreateBackupRequest(), timeout=PATIENCE_SECONDS))
    assert segment(daemon).read_bytes() == b"".join(lines[:-1])
    daemon.stop()
    (daemon.state / "audit").rename(tmp_path / "evidence")
    daemon.start()
    assert problems(daemon) == []


def test_the_verification_key_is_to_be_taken_away(daemon: Daemon) -> None:
    """The log reminds of it at each start until it is gone."""
    assert daemon.lines("audit.verification_key_present")
    (daemon.state / "audit" / "verification.key").unlink()
    daemon.stop()
    before = len(daemon.lines("audit.verification_key_present"))
    daemon.start()
    assert len(daemon.lines("audit.verification_key_present")) == before


def test_configuration_goes_on_without_a_log(daemon: Daemon, tmp_path: Path) -> None:
    """Its directory is taken away under the daemon: that is a problem, and nothing else is."""
    (daemon.state / "audit").rename(tmp_path / "taken")
    assert daemon.update({"name": "changed"}).version == 2
    until(lambda: any("nothing can be recorded" in one for one in problems(daemon)), "a problem")
    assert daemon.update({"name": "again"}).version == 3


def problems(daemon: Daemon) -> list[str]:
    """Return what the status says of the log."""
    found = daemon.admin.GetStatus(GetStatusRequest(), timeout=PATIENCE_SECONDS).problems
    return [one.message for one in found if one.component == "audit"]


def test_kill_under_load_loses_no_record(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """However the daemon was killed, the log is in order, and has each version once: acknowledged ones above all."""
    daemon = make_daemon(settings={"log.level": "warning"})
    auditor = Auditor(tmp_path / "home", daemon)
    acknowledged: set[int] = set()
    with ThreadPoolExecutor(WRITERS) as threads:
        for _ in range(KILLS):
            daemon.start()
            writing = [threads.submit(_write, daemon, acknowledged, writer) for writer in range(WRITERS)]
            time.sleep(LOAD_SECONDS)  # the load itself, not a wait for something
            os.kill(daemon.pid, 9)
            for one in writing:
                one.result()
            daemon.wait()
    daemon.start()
    version, _ = daemon.get()
    daemon.stop()
    daemon.start()
    verdict = auditor.verdict("--verification-key", str(daemon.state / "audit" / "verification.key"))
    assert verdict["intact"], verdict["problem"]
    records = auditor.records()
    assert [one["facts"]["version"] for one in records if one["action"].startswith("config.")] == [
        *range(1, version + 1)
    ]
    assert len(acknowledged) > KILLS
    assert max(acknowledged) <= version
    assert not [one for one in records if one["action"] == "audit.gap"]


def _write(daemon: Daemon, acknowledged: set[int], writer: int) -> None:
    """Change the configuration until the daemon is gone."""
    number = 0
    while True:
        number += 1
        try:
            acknowledged.add(daemon.update({"name": f"w{writer}-{number}"}).version)
        except grpc.RpcError:
            return
