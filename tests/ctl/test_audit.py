from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from ctl.fake_config import REVISION
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from engine import FakeClock
from vestry.audit_record import Outcome
from vestry.v1 import audit_pb2
from vestryd.stores.audit_memory import MemoryAuditLog

SEGMENT = "audit-000000000001.jsonl"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's program remembers things."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def flip(content: bytes, at: int) -> bytes:
    """Return the content with one bit of a byte changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_list_is_a_table_newest_first(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Over all pages, with the facts that people want."""
    daemon.record(3)
    daemon.record(1, Outcome.FAILED)
    lines = ctl("audit", "list").stdout.splitlines()
    assert lines[0].split() == ["SEQUENCE", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "FACTS"]
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "2", "1"]
    assert lines[1].split()[3:] == [
        "uid:7",
        "config.update",
        "namespaces/default/config",
        "failed",
        "version=0",
        "request=r-1",
    ]


def test_list_in_json_leaves_nothing_out(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The facts are an object."""
    daemon.record(3)
    records = ctl.json("audit", "list", "--limit", "2")["records"]
    assert [one["sequence"] for one in records] == [3, 2]
    assert records[0]["facts"] == {"version": 2, "checksum": "0" * 64}
    assert (records[0]["outcome"], records[0]["record_time"]) == ("allowed", "2026-01-01T00:00:00Z")


def test_list_asks_for_what_was_asked_for(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Each option is a filter of the daemon's."""
    options = ["--actor", "uid:7", "--action", "config.", "--resource", "namespaces/a", "--outcome", "denied"]
    assert ctl("audit", "list", *options, "--since", "2026-01-31T12:00", "--until", "2026-02-01").exit_code == 0
    (request,) = daemon.list_requests
    assert (request.actor, request.action_prefix, request.resource_prefix) == ("uid:7", "config.", "namespaces/a")
    assert request.outcome == audit_pb2.AUDIT_OUTCOME_DENIED
    assert request.until_time.seconds - request.since_time.seconds == 12 * 3600


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "99999999999999d", "0001-01-01"])
def test_a_time_that_is_none_is_a_usage_error(ctl: Ctl, time: str) -> None:
    """And says how to write one."""
    result = ctl("audit", "list", "--since", time)
    assert result.exit_code == (2 if time != "0001-01-01" else result.exit_code)
    assert "defect" not in result.stderr


def test_tail_shows_the_last_records_and_follows(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The daemon goes away and comes back: each record is shown once."""
    daemon.record(12)
    with ctl.start("audit", "tail", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = [int(process.stdout.readline().split()[0]) for _ in range(10)]
        daemon.record(2)
        shown += [int(process.stdout.readline().split()[0]) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert shown == list(range(3, 15))


def test_tail_after_a_record_in_json(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A line of JSON each."""
    daemon.record(4)
    with ctl.start("audit", "tail", "--after", "2", "-o", "json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["sequence"] for _ in range(2)] == [3, 4]
        process.kill()


def test_export_writes_the_files_for_their_owner_alone(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Byte for byte, into a new directory."""
    daemon.record(20)
    result = ctl("audit", "export", str(tmp_path / "x"))
    assert result.exit_code == 0, result.stderr
    assert {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()} == daemon.files
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "x").iterdir()} == {0o600}


def test_export_mixes_with_nothing(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """A directory that isn't empty is left alone."""
    (tmp_path / "file").touch()
    result = ctl("audit", "export", str(tmp_path))
    assert (result.exit_code, "not empty" in result.stderr) == (1, True)


def test_export_writes_no_file_elsewhere(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Whatever the daemon calls it."""
    daemon.files = {"../evil": b"x"}
    assert ctl("audit", "export", str(tmp_path / "x")).exit_code == 1
    assert not (tmp_path / "evil").exists()


def test_verify_remembers_the_checkpoint(ctl: Ctl, daemon: FakeDaemon, state: Path) -> None:
    """The first time it says that it knew nothing; then it does."""
    daemon.record(5)
    first = ctl("audit", "verify")
    assert (first.exit_code, "first look" in first.stderr) == (0, True)
    assert first.stdout.startswith("5 records, up to 5, are what was written\n")
    (file,) = (state / "vestry" / "checkpoints").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"{REVISION.store_id}.json", 0o600)
    daemon.record(5)
    again = ctl("audit", "verify")
    assert (again.exit_code, again.stderr) == (0, "")
    assert "at 10" in again.stdout


def test_verify_names_the_record_that_was_changed(ctl: Ctl, daemon: FakeDaemon) -> None:
    """With the exit code 1."""
    daemon.record(9)
    lines = daemon.files[SEGMENT].splitlines(keepends=True)
    lines[4] = lines[4].replace(b"uid:7", b"uid:8")
    daemon.files[SEGMENT] = b"".join(lines)
    result = ctl("audit", "verify")
    assert result.exit_code == 1
    assert f"THE LOG IS NOT WHAT WAS WRITTEN. {SEGMENT}:6: record 6: " in result.stdout
    assert "record 5 was changed" in result.stdout
    value = json.loads(ctl("audit", "verify", "-o", "json").stdout)
    assert (value["intact"], value["problem"]["kind"], value["records"]) == (False, "chain", 5)


def test_verify_finds_a_log_that_went_backwards(ctl: Ctl, daemon: FakeDaemon) -> None:
    """It is in itself in order: only what was remembered tells. And it goes on telling."""
    daemon.record(5)
    older = dict(daemon.files)
    daemon.record(5)
    assert ctl("audit", "verify").exit_code == 0
    daemon.files = older
    for _ in range(2):
        value = json.loads(ctl("audit", "verify", "-o", "json").stdout)
        assert value["problem"]["kind"] == "went-backwards"


def test_verify_finds_a_log_that_was_made_anew(ctl: Ctl, daemon: FakeDaemon) -> None:
    """With a key of its own, in which all is in order."""
    daemon.record(5)
    assert ctl("audit", "verify").exit_code == 0
    daemon.log = MemoryAuditLog(REVISION.store_id, clock=FakeClock())
    daemon.record(9)
    result = ctl("audit", "verify")
    assert (result.exit_code, "another key" in result.stderr) == (1, True)


def test_verify_with_the_verification_key_checks_the_macs(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """And refuses another log's key."""
    daemon.record(5)
    key = tmp_path / "verification.key"
    key.write_text(daemon.log.verification_key.hex() + "\n")
    value = ctl.json("audit", "verify", "--verification-key", str(key))
    assert (value["intact"], value["macs_checked"]) == (True, True)
    key.write_text("0" * 64)
    assert (
        json.loads(ctl("audit", "verify", "--verification-key", str(key), "-o", "json").stdout)["problem"]["kind"]
        == "mac"
    )


def test_verify_a_directory(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """No daemon is needed; without a key from elsewhere it says how little that proves."""
    daemon.record(5)
    assert ctl("audit", "export", str(tmp_path / "x")).exit_code == 0
    daemon.stop()
    alone = ctl("audit", "verify", str(tmp_path / "x"))
    assert (alone.exit_code, "proves little" in alone.stderr) == (0, True)
    key = tmp_path / "key.pub"
    key.write_bytes(daemon.files["signing.pub"])
    assert ctl("audit", "verify", str(tmp_path / "x"), "--public-key", str(key)).stderr == ""
    segment = tmp_path / "x" / SEGMENT
    segment.write_bytes(flip(segment.read_bytes(), 40))
    result = ctl("audit", "verify", str(tmp_path / "x"), "--public-key", str(key))
    assert (result.exit_code, f"{SEGMENT}:" in result.stdout) == (1, True)


def test_verify_a_directory_with_an_anchor(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """A checkpoint that was kept elsewhere, e.g. from the journal."""
    daemon.record(5)
    assert ctl("audit", "export", str(tmp_path / "x")).exit_code == 0
    daemon.record(5)
    anchor = tmp_path / "anchor"
    anchor.write_bytes(daemon.files["checkpoints.jsonl"].splitlines(keepends=True)[-1])
    result = ctl("audit", "verify", str(tmp_path / "x"), "--anchor", str(anchor), "-o", "json")
    assert json.loads(result.stdout)["problem"]["kind"] == "went-backwards"


def test_an_anchor_does_not_stand_in_for_what_is_remembered(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """An old one that is still there leaves the newer one to be looked for."""
    daemon.record(5)
    older = dict(daemon.files)
    anchor = tmp_path / "anchor"
    anchor.write_bytes(older["checkpoints.jsonl"].splitlines(keepends=True)[-1])
    daemon.record(5)
    assert ctl.json("audit", "verify", "--anchor", str(anchor))["intact"]
    daemon.files = older
    value = json.loads(ctl("audit", "verify", "--anchor", str(anchor), "-o", "json").stdout)
    assert value["problem"]["kind"] == "went-backwards"


@pytest.mark.parametrize("option", ["--public-key", "--verification-key", "--anchor"])
def test_evidence_that_is_none_is_a_usage_error(ctl: Ctl, tmp_path: Path, option: str) -> None:
    """Named, and never taken for a tampered log."""
    (tmp_path / "f").write_text("nonsense")
    result = ctl("audit", "verify", option, str(tmp_path / "f"))
    assert (result.exit_code, str(tmp_path / "f") in result.stderr) == (2, True)
    result = ctl("audit", "verify", option, str(tmp_path / "missing"))
    assert (result.exit_code, "can't read" in result.stderr) == (1, True)


def test_a_directory_without_a_log(ctl: Ctl, tmp_path: Path) -> None:
    """Is a sentence."""
    result = ctl("audit", "verify", str(tmp_path))
    assert (result.exit_code, "can't read" in result.stderr) == (1, True)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"public_key":"zz","checkpoint":""}', '{"public_key":7}'])
def test_a_damaged_memory_is_told(ctl: Ctl, daemon: FakeDaemon, state: Path, content: str) -> None:
    """It does not count as none: who damages it would hide what it knew."""
    daemon.record(1)
    assert ctl("audit", "verify").exit_code == 0
    (file,) = (state / "vestry" / "checkpoints").iterdir()
    file.write_text(content)
    result = ctl("audit", "verify")
    assert (result.exit_code, "damaged" in result.stderr) == (1, True)
