from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import tokens_pb2

TOKEN = "vestry_0000000000000001_hush"


def test_a_token_is_printed_alone(ctl: Ctl, daemon: FakeDaemon) -> None:
    """So that it can be put into a file; what it is stands on standard error, without it."""
    result = ctl("token", "create", "--user", "ci", "--group", "a", "--group", "b", "--ttl", "1h30m", "--once")
    assert result.stdout == f"{TOKEN}\n"
    assert "token 0000000000000001 speaks for user:ci until" in result.stderr
    assert "for one call" in result.stderr
    assert "hush" not in result.stderr
    (asked,) = daemon.tokens.asked
    assert (asked.user, list(asked.groups), asked.ttl.seconds, asked.once) == ("ci", ["a", "b"], 5400, True)


def test_a_program_gets_all_of_it(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The token and what is known of it; without a span the daemon decides."""
    made = ctl.json("token", "create", "--user", "ci", "--description", "release 7")
    assert (made["token"], made["metadata"]["description"]) == (TOKEN, "release 7")
    assert not daemon.tokens.asked[0].HasField("ttl")


def test_the_list_has_all_pages_and_no_token(ctl: Ctl) -> None:
    """Newest first."""
    for user in ("a", "b", "c"):
        ctl("token", "create", "--user", user)
    listed = ctl("token", "list")
    assert [line.split()[1] for line in listed.stdout.splitlines()] == ["USER", "c", "b", "a"]
    assert "hush" not in listed.stdout
    assert [one["user"] for one in ctl.json("token", "list", "--user", "b")["tokens"]] == ["b"]


def test_a_token_is_revoked_by_its_id(ctl: Ctl, daemon: FakeDaemon) -> None:
    """An unknown one is exit code 1."""
    ctl("token", "create", "--user", "ci")
    assert ctl("token", "revoke", "0000000000000001").stdout == "token 0000000000000001 of user:ci is no longer good\n"
    assert daemon.tokens.tokens[0].state == tokens_pb2.TOKEN_STATE_REVOKED
    assert ctl("token", "revoke", "nonsense").exit_code == 1


def test_every_command_takes_a_token_file(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """As an option or from the environment; one that others can read is refused."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    refused = ctl("token", "list", "--token-file", str(file))
    assert (refused.exit_code, "chmod 600" in refused.stderr) == (1, True)
    file.chmod(0o600)
    assert ctl("token", "list", "--token-file", str(file)).exit_code == 0
    assert ctl("token", "list", env={"VESTRY_TOKEN_FILE": str(file)}).exit_code == 0
    assert daemon.tokens.credentials == [f"Bearer {TOKEN}"] * 2


def test_the_auth_sockets_token_is_for_other_programs(ctl: Ctl, tmp_path: Path) -> None:
    """It is printed alone; without an auth socket that is said."""
    assert ctl("token", "local").exit_code == 3
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/v.sock.auth")
        listener.listen(1)
        answer = {"caller": "user:me", "expires_in_seconds": 600, "token": "vestryl_hush"}

        def serve() -> None:
            connection, _ = listener.accept()
            connection.sendall(json.dumps(answer).encode() + b"\n")
            connection.close()

        server = threading.Thread(target=serve)
        server.start()
        assert ctl("token", "local").stdout == "vestryl_hush\n"
        server.join()


def test_only_a_unix_socket_has_an_auth_socket(ctl: Ctl) -> None:
    """For a port there is nothing to ask."""
    assert ctl("token", "local", "--address", "127.0.0.1:1").exit_code == 2


def test_whoami_tells_whom_the_daemon_sees(ctl: Ctl) -> None:
    """Name, other names, groups and how it knows."""
    told = ctl("whoami").stdout
    for word in ("user:ci", "dns:ci.example.org", "operators", "token 17", "never"):
        assert word in told
    assert ctl.json("whoami")["via"] == "token"
