"""`vestryd --check`: what a deployment asks before it goes live."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.daemon import REPOSITORY, Daemon

pytestmark = pytest.mark.e2e

CONFIG = 78


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_sample_tree_is_fine(make_daemon: Callable[..., Daemon], environment: str) -> None:
    """The tree that we ship passes in each of its environments, with the settings file that we ship; nothing is left."""
    daemon = make_daemon(settings={"config.directory": REPOSITORY / "config", "environment": environment})
    done = daemon.run("--check", "--settings", str(REPOSITORY / "config" / "vestryd.toml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"is fine for the environment {environment}" in done.stdout
    assert not daemon.state.exists()


def test_every_mistake_is_told(make_daemon: Callable[..., Daemon]) -> None:
    """Mistakes in several files are all told at once, each with its file and place."""
    daemon = make_daemon()
    daemon.save("default.json", {"server": {"port": 0}})
    daemon.save("override.json", {"password": "much too long to pass"})
    daemon.save("namespaces/billing/default.yaml", "a: [1\n")
    daemon.save("namespaces/checkout/default.toml", "a = 1\na = 2\n")
    daemon.save("namespaces/Not A Name/default.json", {})
    done = daemon.run("--check")
    assert done.returncode == CONFIG
    told = done.stderr
    for parts in (
        ("default.json", "/server/port", "minimum"),
        ("override.json", "/password", "maxLength"),
        ("billing/default.yaml:2:", "syntax"),
        ("checkout/default.toml:2:", "syntax"),
        ("Not A Name",),
    ):
        assert any(all(part in line for part in parts) for line in told.splitlines()), (parts, told)
    assert "much too long" not in told


def test_an_empty_tree_is_a_mistake(make_daemon: Callable[..., Daemon]) -> None:
    """A tree with nothing in it is more likely a wrong path than a wish."""
    daemon = make_daemon()
    for file in daemon.tree.iterdir():
        file.unlink()
    done = daemon.run("--check")
    assert done.returncode == CONFIG
    assert "there is no configuration here" in done.stderr


def test_a_running_daemon_is_not_disturbed(daemon: Daemon) -> None:
    """A check needs neither the store nor the sockets, so it may run beside the daemon."""
    assert daemon.run("--check").returncode == 0
    assert daemon.get()[0] == 1


def test_a_check_leaves_a_running_daemon_alone(daemon: Daemon) -> None:
    """It opens neither the store nor the audit log, which are the daemon's."""
    done = daemon.run("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.update({"name": "changed"}).changed


def test_a_policy_that_can_not_be_is_told(make_daemon: Callable[..., Daemon]) -> None:
    """A policy is part of the tree, and is checked with it."""
    daemon = make_daemon()
    daemon.save(
        "access.json", {"rules": {"bad": {"subjects": ["alice"], "actions": ["config.raed"], "resources": ["a//b"]}}}
    )
    done = daemon.run("--check")
    assert done.returncode == CONFIG
    for part in ("/rules/bad/actions/0", "config.read", "/rules/bad/resources/0", "/rules/bad/subjects/0"):
        assert part in done.stderr
