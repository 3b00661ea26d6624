from __future__ import annotations

import json
from pathlib import Path

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2

BAD = common_pb2.Violation(
    pointer="/server/port", rule="maximum", message="too much", value="70000", file="default.json", line=3, column=9
)


def test_validate_accepts_a_good_document(ctl: Ctl, tmp_path: Path) -> None:
    """A document that meets the rules gets exit code 0 and a sentence."""
    file = tmp_path / "good.json"
    file.write_text('{"server": {"port": 1}}')
    result = ctl("config", "validate", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file} is valid, by the rules of default version 2\n")


def test_validate_prints_violations_and_fails(ctl: Ctl) -> None:
    """A document that breaks rules gets a table and exit code 1."""
    result = ctl("config", "validate", "-", stdin='{"server": {"port": 70000}}')
    assert result.exit_code == 1
    assert result.stdout == (
        "POINTER       RULE     PROBLEM                  VALUE\n"
        "/server/port  maximum  70000 is more than 65535  70000\n"
    ).replace("PROBLEM                  ", "PROBLEM                   ")


def test_validate_checks_a_layer_with_the_others(ctl: Ctl) -> None:
    """With --layer the other layers are folded in."""
    ctl("config", "set", "server.port", "99")
    bad = '{"server": {"port": 70000}}'
    assert ctl("config", "validate", "-", "--layer", "default", stdin=bad).exit_code == 0
    assert ctl("config", "validate", "-", "--layer", "runtime", stdin=bad).exit_code == 1


def test_validate_treats_bad_syntax_as_a_violation(ctl: Ctl, tmp_path: Path) -> None:
    """What is no document is reported in the same shape, with its place."""
    file = tmp_path / "broken.yaml"
    file.write_text("a: 1\na: 2\n")
    result = ctl("config", "validate", str(file), "-o", "json")
    assert result.exit_code == 1
    violation = json.loads(result.stdout)["violations"][0]
    assert (violation["rule"], violation["file"], violation["line"], violation["column"]) == ("syntax", str(file), 2, 1)


def test_status_shows_drift_and_rejected_files(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Each layer has its row, and what is wrong with the files stands below, with its place."""
    daemon.documents["default"].drifted = frozenset({common_pb2.LAYER_OVERRIDE})
    daemon.reject("default", BAD)
    out = ctl("config", "status").stdout
    assert "override     no       drifted  " in out
    assert "The files are rejected since 2026-09-21 " in out
    assert "default.json:3:9" in out
    layer = ctl.json("config", "status")["layers"][3]
    assert layer == {"layer": "runtime", "file": "", "present": False, "drifted": False, "ingest_time": None}


def test_reload_tells_what_happened_to_each_namespace(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A namespace whose files are refused is named, and makes the exit code 1."""
    assert ctl("config", "reload").exit_code == 0
    daemon.reject("billing", BAD)
    result = ctl("config", "reload")
    assert result.exit_code == 1
    assert "billing: rejected, version 1 stays in force\n" in result.stdout
    assert "default: nothing new, still version 2\n" in result.stdout
    assert ctl("config", "reload", "default").exit_code == 0


def test_namespaces_reads_all_pages(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Every page is read, and trouble with files is named."""
    daemon.reject("billing", BAD)
    lines = ctl("config", "namespaces").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAMESPACE", "billing", "default"]
    assert lines[1].endswith("rejected")
    assert [each["namespace"] for each in ctl.json("config", "namespaces")["namespaces"]] == ["billing", "default"]
