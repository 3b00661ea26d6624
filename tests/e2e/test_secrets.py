"""Secrets over the wire: their life, who gets them, and what happens when the daemon can't or mustn't give them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from e2e.daemon import PATIENCE_SECONDS, until
from e2e.ending import ends_soon, watch_config, watch_secrets
from e2e.failures import failed
from e2e.mortal import Mortal, mortal
from e2e.somebody import ctl_of_somebody, shared
from stores.places import fill_disk, small_disk
from vestry import Client, connect
from vestry.v1 import seal_pb2, secrets_pb2, tokens_pb2

pytestmark = pytest.mark.e2e

READER = {"actions": ["secrets.access", "secrets.watch", "config.*"], "resources": ["namespaces/default/**"]}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Mortal]:
    """A daemon that isn't started yet, with a namespace that has a number in it."""
    with mortal(tmp_path / "d") as made:
        made.save("default.json", {"number": 1})
        yield made


def refusal(call: Callable[[], object]) -> str:
    """Return the reason for which a call is refused; empty when it isn't."""
    try:
        call()
    except grpc.RpcError as error:
        return failed(error).reason
    return ""


def test_another_user_gets_what_the_policy_allows(daemon: Mortal) -> None:
    """Refused first, whether it exists or not, with the explanation; then allowed by a rule; until that is gone."""
    with shared(daemon) as user:
        daemon.start()
        daemon.put("password", b"hunter2")
        refused = ctl_of_somebody(daemon, "secrets", "access", "password")
        assert (refused.returncode, refused.stdout) == (1, "")
        path = "namespaces/default/secrets/password"
        assert f"denied to user:{user}: no rule allows secrets.access on {path}" in refused.stderr
        unknown = ctl_of_somebody(daemon, "secrets", "access", "unknown")
        assert unknown.stderr == refused.stderr.replace("password", "unknown")

        daemon.rule("reader", {**READER, "subjects": [f"user:{user}"]})
        assert ctl_of_somebody(daemon, "secrets", "access", "password").stdout == "hunter2"
        assert ctl_of_somebody(daemon, "secrets", "get", "password").returncode == 1
        daemon.rule("reader", None)
        assert ctl_of_somebody(daemon, "secrets", "access", "password").returncode == 1
        daemon.stop()
    log = (daemon.state / "audit" / "audit-000000000001.jsonl").read_text().splitlines()
    told = [(one["outcome"], one["resource"]) for one in map(json.loads, log) if one["actor"] == f"user:{user}"]
    assert ("denied", path) in told
    assert ("allowed", path) in told


def test_a_rotation_is_heard_of_at_once(daemon: Mortal) -> None:
    """Whoever uses a secret gets its new value with the call to `on_rotate`; the one before works for its grace."""
    daemon.start()
    daemon.put("password", b"one")
    heard: list[bytes] = []
    with Client(daemon.target) as client:
        password = client.secrets["password"]
        assert password.reveal() == b"one"
        password.on_rotate(lambda handle: heard.append(handle.reveal()))
        until(lambda: password.is_live, "the watch is up")
        request = secrets_pb2.RotateSecretRequest(name="password", value=b"two", grace=Duration(seconds=1))
        daemon.secrets.RotateSecret(request, timeout=PATIENCE_SECONDS)
        until(lambda: heard == [b"two"], "the new value is there")
        assert password.reveal(label="previous") == b"one"
    previous = secrets_pb2.AccessSecretRequest(name="password", label=secrets_pb2.SECRET_LABEL_PREVIOUS)

    def reason() -> str:
        return refusal(lambda: daemon.secrets.AccessSecret(previous, timeout=PATIENCE_SECONDS))

    until(lambda: reason() == "SECRET_UNUSABLE", "the grace is over")
    assert daemon.reveal("password", 1) == b"one"


def test_deleted_undeleted_destroyed(daemon: Mortal) -> None:
    """A deletion can be taken back, also after a restart; what was destroyed is gone, and the rest is not."""
    daemon.start()
    for value in (b"one", b"two"):
        daemon.put("password", value)
    daemon.secrets.DeleteSecret(secrets_pb2.DeleteSecretRequest(name="password"), timeout=PATIENCE_SECONDS)
    daemon.stop()
    daemon.start()
    assert refusal(lambda: daemon.reveal("password")) == "SECRET_NOT_FOUND"
    daemon.undelete("password")
    request = secrets_pb2.DestroySecretVersionRequest(name="password", version=1)
    daemon.secrets.DestroySecretVersion(request, timeout=PATIENCE_SECONDS)
    assert refusal(lambda: daemon.reveal("password", 1)) == "SECRET_UNUSABLE"
    assert daemon.reveal("password") == b"two"


@pytest.mark.parametrize("watch", [watch_config, watch_secrets])
@pytest.mark.parametrize("how", ["rule", "token"])
def test_a_right_that_ends_ends_its_watch(daemon: Mortal, watch: Callable[[grpc.Channel], Any], how: str) -> None:
    """Within a second: a rule that is taken away, and a token that is revoked."""
    daemon.start()
    daemon.rule("reader", {**READER, "subjects": ["user:alice"]})
    made = daemon.token_service.CreateToken(tokens_pb2.CreateTokenRequest(user="alice"), timeout=PATIENCE_SECONDS)
    code = {"rule": "PERMISSION_DENIED", "token": "UNAUTHENTICATED"}[how]
    with connect(daemon.target, token=made.token) as channel, ends_soon(lambda: watch(channel), code):
        if how == "rule":
            daemon.rule("reader", None)
        else:
            daemon.token_service.RevokeToken(tokens_pb2.RevokeTokenRequest(token_id=made.metadata.token_id))


def test_sealed_everything_but_secrets_goes_on(daemon: Mortal) -> None:
    """Secrets are refused as SEALED; configuration is read, written and watched; unsealed, secrets are there again."""
    daemon.start()
    daemon.put("password", b"hunter2")
    daemon.seals.Seal(seal_pb2.SealRequest(), timeout=PATIENCE_SECONDS)
    assert refusal(lambda: daemon.reveal("password")) == "SEALED"
    assert refusal(lambda: daemon.put("password", b"other")) == "SEALED"
    with Client(daemon.target) as client:
        view = client.config()
        daemon.update({"number": 2})
        until(lambda: view["number"] == 2, "the watch goes on")
    assert any("seal" in one for one in daemon.problems("secrets"))
    daemon.seals.Unseal(seal_pb2.UnsealRequest(), timeout=PATIENCE_SECONDS)
    assert daemon.reveal("password") == b"hunter2"


def test_a_full_audit_disk_stops_secrets_alone(daemon: Mortal) -> None:
    """They are refused, everything else goes on; with room again they are given again, and the log tells of it."""
    daemon.start()
    daemon.put("password", b"hunter2")
    daemon.stop()
    directory = daemon.state / "audit"
    aside = directory.rename(daemon.state / "aside")
    with small_disk(directory, size="6m") as disk:
        shutil.copytree(aside, disk, dirs_exist_ok=True)
        try:
            daemon.start()
            assert daemon.reveal("password") == b"hunter2"
            ballast = fill_disk(disk)
            until(lambda: refusal(lambda: daemon.reveal("password")) == "AUDIT_UNAVAILABLE", "the log can't record")
            assert refusal(lambda: daemon.put("password", b"other")) == "AUDIT_UNAVAILABLE"
            assert daemon.update({"number": 2}).changed
            assert daemon.get()[1] == {"number": 2}
            assert any("nothing can be recorded" in one for one in daemon.problems("audit"))
            ballast.unlink()
            until(lambda: not refusal(lambda: daemon.reveal("password")), "the log records again")
            assert daemon.put("password", b"after") == 2
            until(lambda: not daemon.problems("audit"), "all is well")
            daemon.stop()
            recorded = disk / "audit-000000000001.jsonl"
            actions = [json.loads(line)["action"] for line in recorded.read_text().splitlines()]
            assert {"audit.unavailable", "audit.resumed", "config.update"} <= {*actions}
        finally:
            daemon.close()


@pytest.mark.parametrize("how", ["another key", "others can read it", "it is gone"])
def test_without_its_key_the_daemon_starts_sealed(daemon: Mortal, how: str, tmp_path: Path) -> None:
    """And says why in its status; nothing is founded anew; with the key back it can be unsealed."""
    key_file = tmp_path / "unlock.key"
    key = os.urandom(32)
    key_file.touch(mode=0o600)
    key_file.write_bytes(key)
    daemon.settings["secrets.unlock_key_file"] = key_file
    daemon.start()
    daemon.put("password", b"hunter2")
    daemon.stop()
    if how == "another key":
        key_file.write_bytes(os.urandom(32))
    elif how == "others can read it":
        key_file.chmod(0o644)
    else:
        key_file.unlink()
    daemon.start()
    status = daemon.seals.GetSealStatus(seal_pb2.GetSealStatusRequest(), timeout=PATIENCE_SECONDS)
    assert status.sealed
    assert status.problem
    assert any(status.problem in one for one in daemon.problems("secrets"))
    assert daemon.lines("secrets.sealed")
    assert refusal(lambda: daemon.reveal("password")) == "SEALED"
    assert refusal(lambda: daemon.seals.Unseal(seal_pb2.UnsealRequest())) == "UNLOCK_REFUSED"
    assert daemon.update({"number": 2}).changed
    key_file.touch(mode=0o600)
    key_file.chmod(0o600)
    key_file.write_bytes(key)
    daemon.seals.Unseal(seal_pb2.UnsealRequest(), timeout=PATIENCE_SECONDS)
    assert daemon.reveal("password") == b"hunter2"


def test_the_environment_becomes_secrets(tmp_path: Path) -> None:
    """Variables are taken in at the start, once for each value; what can't be is a warning, and nothing else."""
    variables = {"DB_PASSWORD": "one", "API_KEY": "key"}
    settings = {"secrets.from_environment": "DB_PASSWORD,billing/api-key=API_KEY,NOT_THERE"}
    with mortal(tmp_path / "d", settings, variables) as daemon:
        for wanted, version in (("one", 1), ("one", 1), ("two", 2)):
            daemon.setenv("DB_PASSWORD", wanted)
            daemon.start()
            request = secrets_pb2.AccessSecretRequest(name="DB_PASSWORD")
            found = daemon.secrets.AccessSecret(request, timeout=PATIENCE_SECONDS)
            assert (found.value, found.version) == (wanted.encode(), version)
            daemon.stop()
        assert any("NOT_THERE" in line["problem"] for line in daemon.lines("secrets.not_imported"))
        daemon.start()
        billing = secrets_pb2.AccessSecretRequest(namespace="billing", name="api-key")
        assert daemon.secrets.AccessSecret(billing, timeout=PATIENCE_SECONDS).value == b"key"
