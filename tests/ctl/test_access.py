from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from ctl.fake_access import BUILT_IN
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2

ADMINISTRATORS = {"rules": {"administrators": {"actions": ["*"]}}}
BOB = {"actions": ["config.read"], "subjects": ["user:bob"]}


@pytest.fixture
def policy(daemon: FakeDaemon) -> FakeDaemon:
    """The daemon with a policy from a file, at version 1."""
    daemon.policy.add({common_pb2.LAYER_DEFAULT: ADMINISTRATORS}, message="access.json")
    return daemon


def runtime(daemon: FakeDaemon) -> object:
    """Return the policy's runtime layer."""
    return daemon.policy.current.layers.get(common_pb2.LAYER_RUNTIME)


class TestAsking:
    """check and explain."""

    def test_check_tells_by_its_exit_code(self, ctl: Ctl, daemon: FakeDaemon) -> None:
        """So that a script can ask before it tries."""
        daemon.allowed.add(("config.read", "namespaces/default/config"))
        yes = ctl("access", "check", "config.read", "namespaces/default/config")
        assert (yes.exit_code, yes.stdout) == (0, "allowed\n")
        no = ctl("access", "check", "config.update", "namespaces/default/config")
        assert (no.exit_code, no.stdout, no.stderr) == (1, "denied\n", "")
        assert ctl.json("access", "check", "config.read", "namespaces/default/config") == {"allowed": True}

    def test_a_mistyped_action_is_told(self, ctl: Ctl) -> None:
        """It is neither allowed nor denied."""
        result = ctl("access", "check", "config", "namespaces/default/config")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "there is no action 'config'" in result.stderr

    def test_explain_asks_about_whom_it_is_told(self, ctl: Ctl, daemon: FakeDaemon) -> None:
        """By name, groups and address; the story is printed as it came, and a denial is an answer."""
        line = "access explain secrets.access namespaces/a/secrets/b --as user:bob --group x --group y --from 10.0.0.7"
        result = ctl(*line.split())
        assert (result.exit_code, result.stdout) == (0, "denied: no rule allows secrets.access\n"), result.stderr
        (asked,) = daemon.explained
        assert (asked.identity, list(asked.groups), asked.address) == ("user:bob", ["x", "y"], "10.0.0.7")
        assert (asked.action, asked.resource) == ("secrets.access", "namespaces/a/secrets/b")
        assert ctl.json(*line.split())["nearest_rule"] == "billing"


class TestShowing:
    """show, history, diff."""

    def test_the_built_in_policy_says_that_it_is(self, ctl: Ctl) -> None:
        """It has no version and no file."""
        out = ctl("access", "show").stdout
        assert out.startswith("version   0 (built in)\n")
        assert json.loads(out[out.index("{") :]) == BUILT_IN

    def test_layers_drift_and_rejection_are_shown(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """Also of a layer that only a file has."""
        policy.policy.drifted = frozenset({common_pb2.LAYER_OVERRIDE})
        policy.policy_rejection = "access.override.json:1: it is empty (syntax)"
        lines = ctl("access", "show").stdout.splitlines()
        assert lines[0] == "version   1"
        assert [line.split() for line in lines[3:6]] == [
            ["LAYER", "PRESENT", "DRIFT", "FILE"],
            ["default", "yes", "no", "/etc/vestry/access.json"],
            ["override", "no", "drifted", "/etc/vestry/access.override.json"],
        ]
        assert "access.override.json:1: it is empty (syntax)" in lines
        answer = ctl.json("access", "show", "--version", "1")
        assert (answer["document"], answer["layers"][1]["document"]) == (ADMINISTRATORS, None)

    def test_history_and_diff(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """Pages are joined; a diff compares the policies in force."""
        for number in range(3):
            ctl("access", "patch", "-m", f"number {number}", stdin=json.dumps({"roles": {f"r{number}": {}}}))
        lines = ctl("access", "history", "--limit", "3").stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["VERSION", "4", "3", "2"]
        assert lines[1].endswith("tester  update  runtime  number 2")
        assert ctl("access", "diff", "3", "--pointers").stdout == "+ /roles/r2: {}\n"
        assert ctl("access", "diff", "3").stdout.startswith(
            "--- the access policy version 3\n+++ the access policy version 4\n"
        )
        assert ctl("access", "diff", "4", "--exit-code").exit_code == 0
        assert ctl("access", "diff", "1", "--exit-code").exit_code == 1


class TestChanging:
    """patch, edit, rollback."""

    def test_patch_merges_into_the_runtime_layer(self, ctl: Ctl, policy: FakeDaemon, tmp_path: Path) -> None:
        """What changed is shown, and the message goes into the history."""
        file = tmp_path / "p.yaml"
        file.write_text("rules:\n  bob:\n    actions: [config.read]\n    subjects: [user:bob]\n")
        result = ctl("access", "patch", str(file), "-m", "bob is on call")
        assert result.stdout.endswith("the access policy: version 2 is in force\n")
        assert (runtime(policy), policy.policy.facts(2).message) == ({"rules": {"bob": BOB}}, "bob is on call")

    def test_the_first_patch_changes_the_built_in_policy(self, ctl: Ctl, daemon: FakeDaemon) -> None:
        """What is shown is the difference from that."""
        result = ctl("access", "patch", stdin=json.dumps({"roles": {"r": {}}}))
        assert result.stdout == '+ /roles: {"r": {}}\nthe access policy: version 1 is in force\n'
        assert runtime(daemon) == {**BUILT_IN, "roles": {"r": {}}}

    def test_a_lockout_is_refused_in_words(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """And nothing is changed."""
        result = ctl("access", "patch", stdin='{"rules": {"administrators": null}}', env={})
        assert result.exit_code == 0  # a null in a merge patch takes out of the runtime layer what is not there
        assert ctl("access", "validate", "-", "--layer", "default", stdin="{}").exit_code == 1
        policy.policy.add({common_pb2.LAYER_RUNTIME: ADMINISTRATORS})
        result = ctl("access", "patch", stdin='{"rules": {"administrators": null}}')
        assert result.exit_code == 1
        assert result.stderr == (
            "vestryctl: access 'policy' would be invalid, so nothing was changed:\n"
            "  (document): nobody could change this policy any more [lockout]\n"
        )

    def test_a_stale_expected_version_is_a_conflict(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """The exit code of a conflict is 4."""
        result = ctl("access", "patch", "--expected-version", "7", stdin='{"roles": {"r": {}}}')
        assert (result.exit_code, policy.policy_version) == (4, 1)

    def test_edit_replaces_the_runtime_layer(self, ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
        """The editor is shown the layer, at first the built-in policy, and the change is made for the version read."""
        script = tmp_path / "editor.py"
        script.write_text(
            "import json, pathlib, sys\n"
            "file = pathlib.Path(sys.argv[1])\n"
            "layer = json.loads(''.join(line for line in file.open() if not line.startswith('#')))\n"
            f"layer['rules']['bob'] = {BOB!r}\n"
            "file.write_text(json.dumps(layer))\n"
        )
        editor = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"
        result = ctl("access", "edit", "--yes", "-m", "why", env={"EDITOR": editor})
        assert result.exit_code == 0, result.stderr
        assert runtime(daemon) == {"rules": {**BUILT_IN["rules"], "bob": BOB}}
        assert (daemon.policy_updates[-1].expected_version, daemon.policy_updates[-1].message) == (0, "why")

    def test_rollback_shows_what_changes_and_asks(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """Without a terminal it wants --yes."""
        ctl("access", "patch", stdin=json.dumps({"roles": {"r": {}}}))
        result = ctl("access", "rollback", "1")
        assert (result.exit_code, policy.policy_version) == (2, 2)
        assert '-    "r": {}' in result.stderr
        assert ctl("access", "rollback", "1", "--dry-run").stdout.endswith("nothing was changed\n")
        result = ctl("access", "rollback", "1", "--yes")
        assert result.stdout == '- /roles: {"r": {}}\nthe access policy: version 3 is in force\n'
        assert (policy.policy.current.rollback_of, runtime(policy)) == (1, None)


class TestFiles:
    """validate and reload."""

    def test_validate_judges_a_whole_policy_or_a_layer(self, ctl: Ctl, policy: FakeDaemon, tmp_path: Path) -> None:
        """The exit code is 1 when it could not be in force; what is no document is judged without the daemon."""
        file = tmp_path / "access.json"
        file.write_text(json.dumps({"roles": {}}))
        whole = ctl("access", "validate", str(file))
        assert whole.exit_code == 1
        assert "nobody could change this policy any more" in whole.stdout
        layer = ctl("access", "validate", str(file), "--layer", "runtime")
        assert (layer.exit_code, layer.stdout) == (0, f"{file} is valid\n")
        file.write_text("{")
        assert ctl("access", "validate", str(file)).exit_code == 1

    def test_reload_tells_what_became_of_the_files(self, ctl: Ctl, policy: FakeDaemon) -> None:
        """The exit code is 1 when they are refused."""
        result = ctl("access", "reload")
        assert (result.exit_code, result.stdout) == (0, "nothing new, still version 1\n")
        policy.policy_rejection = "nobody could change this policy any more"
        result = ctl("access", "reload")
        assert result.exit_code == 1
        assert result.stdout.startswith("the files are rejected, version 1 stays in force\n")
