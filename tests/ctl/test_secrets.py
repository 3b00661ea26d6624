from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import secrets_pb2
from vestryctl.wire import as_value

CANARY = "correct-horse"
ED25519 = secrets_pb2.KEY_PAIR_ALGORITHM_ED25519


@pytest.fixture
def filled(daemon: FakeDaemon) -> FakeDaemon:
    """The daemon, with a secret that has two versions, one of another namespace, and one that is not text."""
    daemon.secrets.set("db-password", b"old")
    daemon.secrets.set("db-password", CANARY.encode())
    daemon.secrets.set("binary", b"\xff\x00\n")
    daemon.secrets.set("key", b"billing's", namespace="billing")
    return daemon


@pytest.mark.parametrize(
    ("typed", "options", "stored"),
    [
        (b"hunter2\n", (), b"hunter2"),
        (b"hunter2\n\n", (), b"hunter2\n"),
        (b"hunter2", (), b"hunter2"),
        (b"hunter2\n", ("--raw",), b"hunter2\n"),
        (b"\x00\xff\n", ("--from-file", "-"), b"\x00\xff"),
    ],
)
def test_put_reads_standard_input(
    ctl: Ctl, daemon: FakeDaemon, typed: bytes, options: tuple[str, ...], stored: bytes
) -> None:
    """The value is what comes in, without the one newline that ends it, unless --raw is given."""
    result = ctl("secrets", "put", "a", *options, stdin=typed)
    assert (result.exit_code, result.stdout) == (0, "a: version 1 is current\n")
    assert daemon.secrets.value("a") == stored


def test_put_reads_a_file_as_it_is(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """A file's bytes are the value, the newline at its end as well."""
    file = tmp_path / "key.pem"
    file.write_bytes(b"-----\n")
    assert ctl("secrets", "put", "a", "--from-file", str(file)).exit_code == 0
    assert daemon.secrets.value("a") == b"-----\n"


@pytest.mark.parametrize(
    ("typed", "problem"),
    [(b"\n", "it is empty"), (b"x" * 65537, "has more than 65536 bytes"), (b"x" * 70000, "has more than 65536 bytes")],
)
def test_put_refuses_what_can_be_no_value(ctl: Ctl, daemon: FakeDaemon, typed: bytes, problem: str) -> None:
    """Nothing, and more than 64 KiB, are refused before anything is sent."""
    result = ctl("secrets", "put", "a", stdin=typed)
    assert (result.exit_code, daemon.secrets.asked) == (1, [])
    assert problem in result.stderr


def test_the_largest_value_fits(ctl: Ctl, daemon: FakeDaemon) -> None:
    """65536 bytes and a newline are a value."""
    assert ctl("secrets", "put", "a", stdin=b"x" * 65536 + b"\n").exit_code == 0
    assert len(daemon.secrets.value("a")) == 65536


def test_put_takes_no_value_from_an_argument(ctl: Ctl, daemon: FakeDaemon) -> None:
    """What every process could read is a usage error."""
    assert ctl("secrets", "put", "a", CANARY, stdin=b"x").exit_code == 2
    assert daemon.secrets.asked == []


def test_put_asks_at_a_terminal_without_showing(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A person types the value twice, and never sees it."""
    terminal = ctl.at_terminal("secrets", "put", "a")
    terminal.read_until("Value:")
    terminal.type(CANARY + "\n")
    terminal.read_until("Repeat for confirmation:")
    terminal.type(CANARY + "\n")
    assert terminal.finish() == 0
    assert CANARY not in terminal.output
    assert daemon.secrets.value("a") == CANARY.encode()


def test_put_lets_the_daemon_make_a_value(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--generate sends what makes the value; symbols come beside letters and digits; with a period it rotates itself."""
    arguments = [
        "--generate",
        "password",
        "--length",
        "40",
        "--symbols",
        "!%",
        "--exclude",
        "0O",
        "--rotate-every",
        "30d",
    ]
    assert ctl("secrets", "put", "a", *arguments, "--grace", "1h").exit_code == 0
    request = daemon.secrets.asked[0]
    password = secrets_pb2.PasswordGenerator(length=40, lower=True, upper=True, digits=True, symbols="!%", exclude="0O")
    assert request.generator.password == password
    assert request.settings.rotation.generator == request.generator
    assert (request.settings.rotation.period.seconds, request.settings.rotation.grace.seconds) == (30 * 86400, 3600)
    assert request.request_id


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("hex", secrets_pb2.Generator(hex=secrets_pb2.HexGenerator())),
        ("base64", secrets_pb2.Generator(base64=secrets_pb2.Base64Generator())),
        ("base64url", secrets_pb2.Generator(base64=secrets_pb2.Base64Generator(url_safe=True))),
        ("uuid", secrets_pb2.Generator(uuid=secrets_pb2.UuidGenerator())),
        ("ed25519", secrets_pb2.Generator(key_pair=secrets_pb2.KeyPairGenerator(algorithm=ED25519))),
    ],
)
def test_every_kind_of_generator(ctl: Ctl, daemon: FakeDaemon, kind: str, expected: secrets_pb2.Generator) -> None:
    """Each kind is what the proto calls so."""
    assert ctl("secrets", "put", "a", "--generate", kind).exit_code == 0
    assert daemon.secrets.asked[0].generator == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("--length", "8"),
        ("--symbols", "!"),
        ("--generate", "uuid", "--length", "8"),
        ("--generate", "hex", "--exclude", "0"),
        ("--generate", "hex", "--from-file", "-"),
        ("--generate", "hex", "--length", "65537"),
    ],
)
def test_generator_options_that_fit_nothing(ctl: Ctl, daemon: FakeDaemon, arguments: tuple[str, ...]) -> None:
    """An option that would have no effect is a usage error."""
    assert ctl("secrets", "put", "a", *arguments, stdin=b"x").exit_code == 2
    assert daemon.secrets.asked == []


def test_put_keeps_the_settings_that_no_option_speaks_of(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Settings are sent whole, so what is there already goes with them; without options none are sent."""
    ctl(
        "secrets",
        "put",
        "a",
        "--description",
        "what for",
        "--tag",
        "owner=alice",
        "--expires",
        "2030-01-01T00:00:00Z",
        stdin=b"1",
    )
    ctl("secrets", "put", "a", "--tag", "owner=bob=x", stdin=b"2")
    ctl("secrets", "put", "a", stdin=b"3")
    facts = daemon.secrets.kept["default", "a"].facts
    assert (facts.description, dict(facts.tags)) == ("what for", {"owner": "bob=x"})
    assert facts.expire_time.seconds == 1_893_456_000
    assert not daemon.secrets.asked[2].HasField("settings")


def test_put_on_a_version(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--expected-version 0 is for a new secret; a mismatch is exit code 4."""
    assert ctl("secrets", "put", "a", "--expected-version", "0", stdin=b"1").exit_code == 0
    assert ctl("secrets", "put", "a", "--expected-version", "0", stdin=b"2").exit_code == 4
    assert ctl("secrets", "put", "a", "--expected-version", "1", stdin=b"2").exit_code == 0


def test_access_gives_bytes_and_nothing_else(ctl: Ctl, filled: FakeDaemon) -> None:
    """Into a pipe goes the value as it is."""
    assert ctl("secrets", "access", "db-password").stdout_bytes == CANARY.encode()
    assert ctl("secrets", "access", "binary").stdout_bytes == b"\xff\x00\n"
    assert ctl("secrets", "access", "key", "-n", "billing").stdout_bytes == b"billing's"
    assert ctl("secrets", "access", "db-password", "--previous").stdout_bytes == b"old"
    assert ctl("secrets", "access", "db-password", "--version", "1").stdout_bytes == b"old"
    assert ctl("secrets", "access", "db-password", "--pending").exit_code == 1
    assert ctl("secrets", "access", "db-password", "--pending", "--version", "1").exit_code == 2


def test_access_as_a_process_gives_bytes(ctl: Ctl, filled: FakeDaemon) -> None:
    """The real program's output is the bytes as well."""
    with ctl.start("secrets", "access", "binary", stdout=subprocess.PIPE) as process:
        assert process.communicate()[0] == b"\xff\x00\n"


def test_access_at_a_terminal(ctl: Ctl, filled: FakeDaemon) -> None:
    """A person gets a newline after the text, and no bytes that would drive the terminal."""
    terminal = ctl.at_terminal("secrets", "access", "db-password")
    assert terminal.finish() == 0
    assert terminal.output == CANARY + "\n"
    terminal = ctl.at_terminal("secrets", "access", "binary")
    assert terminal.finish() == 2
    assert "write it to a file" in terminal.output


def test_access_to_a_file(ctl: Ctl, filled: FakeDaemon, tmp_path: Path) -> None:
    """The file is the value, for its owner alone, also when others could read it before."""
    file = tmp_path / "value"
    file.touch(0o644)
    result = ctl("secrets", "access", "db-password", "-f", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert (file.read_text(), file.stat().st_mode & 0o777) == (CANARY, 0o600)


def test_access_in_json_is_the_one_that_has_values(ctl: Ctl, filled: FakeDaemon) -> None:
    """As text, null if it is none, and in base64."""
    answer = ctl.json("secrets", "access", "db-password")
    assert (answer["value"], answer["version"], answer["name"]) == (CANARY, 2, "db-password")
    answer = ctl.json("secrets", "access", "binary")
    assert (answer["value"], answer["value_base64"]) == (None, "/wAK")


def test_get_tells_all_but_the_value(ctl: Ctl, filled: FakeDaemon) -> None:
    """A secret's facts, as a table and for machines."""
    ctl("secrets", "update", "db-password", "--description", "the primary", "--tag", "a=b", "--rotate-every", "90m")
    result = ctl("secrets", "get", "db-password")
    assert "name         db-password in default\n" in result.stdout
    assert "tags         a=b\n" in result.stdout
    assert "rotation     every 1 h 30 min\n" in result.stdout
    answer = ctl.json("secrets", "get", "db-password")
    assert (answer["tags"], answer["rotation"]["period"], answer["current_version"]) == ({"a": "b"}, "5400s", 2)
    assert ctl("secrets", "get", "nope").exit_code == 1


def test_list_and_versions_go_over_all_pages(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Whatever the daemon's pages are, the list is one, up to its limit."""
    for number in range(5):
        daemon.secrets.set(f"s-{number}", b"v")
    daemon.secrets.set("other", b"v")
    names = [line.split()[0] for line in ctl("secrets", "list", "--prefix", "s-").stdout.splitlines()]
    assert names == ["NAME", "s-0", "s-1", "s-2", "s-3", "s-4"]
    assert len(ctl.json("secrets", "list", "--limit", "3")["secrets"]) == 3
    for _ in range(4):
        daemon.secrets.set("other", b"w")
    assert [each["version"] for each in ctl.json("secrets", "versions", "other")["versions"]] == [5, 4, 3, 2, 1]
    assert ctl("secrets", "versions", "other").stdout.splitlines()[1].split()[:2] == ["5", "current"]


def test_update_sends_only_what_is_said(ctl: Ctl, filled: FakeDaemon) -> None:
    """The mask names what the options speak of; clearing is saying, too; nothing to say is an error."""
    assert ctl("secrets", "update", "db-password", "--rotate-every", "1d", "--generate", "hex").exit_code == 0
    assert list(filled.secrets.asked[-1].update_mask.paths) == ["rotation"]
    assert ctl("secrets", "update", "db-password", "--no-rotation", "--never-expires", "--no-tags").exit_code == 0
    assert list(filled.secrets.asked[-1].update_mask.paths) == ["expire_time", "rotation", "tags"]
    assert not filled.secrets.kept["default", "db-password"].facts.HasField("rotation")
    assert ctl("secrets", "update", "db-password").exit_code == 2


def test_rotate_at_once(ctl: Ctl, filled: FakeDaemon) -> None:
    """By its own generator, by another, or to a value, with a grace."""
    result = ctl("secrets", "rotate", "db-password", "--grace", "1h")
    assert result.stdout == "db-password: version 3 is current, version 2 works until 2026-09-21 15:13:20\n"
    assert filled.secrets.asked[-1].WhichOneof("content") is None
    ctl("secrets", "rotate", "db-password", "--generate", "uuid")
    assert filled.secrets.asked[-1].generator.HasField("uuid")
    ctl("secrets", "rotate", "db-password", "--from-file", "-", stdin=b"new\n")
    assert filled.secrets.value("db-password") == b"new"


def test_rotate_in_two_steps(ctl: Ctl, filled: FakeDaemon) -> None:
    """A pending value waits, and is promoted or abandoned, which take no value."""
    assert ctl("secrets", "rotate", "db-password", "--pending", "--from-file", "-", stdin=b"new").exit_code == 0
    assert ctl("secrets", "access", "db-password").stdout == CANARY
    assert ctl("secrets", "access", "db-password", "--pending").stdout == "new"
    assert ctl("secrets", "rotate", "db-password", "--promote", "--generate", "hex").exit_code == 2
    assert ctl("secrets", "rotate", "db-password", "--promote").stdout == "db-password: version 3 is current\n"
    assert ctl("secrets", "access", "db-password").stdout == "new"
    ctl("secrets", "rotate", "db-password", "--pending")
    assert ctl("secrets", "rotate", "db-password", "--abandon").stdout == "db-password: version 4 is abandoned\n"


def test_rotations_are_listed(ctl: Ctl, filled: FakeDaemon) -> None:
    """What is due, and what would make the new value."""
    ctl("secrets", "update", "db-password", "--rotate-every", "30d")
    ctl("secrets", "update", "binary", "--rotate-every", "1d", "--generate", "hex")
    lines = ctl("secrets", "rotations").stdout.splitlines()
    assert lines[1].split()[:2] == ["binary", "overdue"]
    assert lines[1].endswith("1 d 0 h   hex of 32 bytes")
    assert lines[-1] == "0 due, 2 overdue"
    assert ctl.json("secrets", "rotations")["overdue"] == 2


def test_deleting_asks_first(ctl: Ctl, filled: FakeDaemon) -> None:
    """Without --yes and nobody to ask nothing is done; a deletion can be taken back, a destroyed value can't."""
    assert ctl("secrets", "delete", "db-password").exit_code == 2
    assert ctl("secrets", "destroy", "db-password", "1").exit_code == 2
    assert filled.secrets.asked == []
    assert ctl("secrets", "delete", "db-password", "--yes").exit_code == 0
    assert ctl("secrets", "access", "db-password").exit_code == 1
    assert ctl("secrets", "list", "--prefix", "db").stdout.count("\n") == 1
    assert "deleted" in ctl("secrets", "list", "--prefix", "db", "--deleted").stdout
    assert ctl("secrets", "undelete", "db-password").stdout == "db-password: version 2 is there again\n"
    assert ctl("secrets", "destroy", "db-password", "1", "-y").exit_code == 0
    assert "destroyed" in ctl("secrets", "versions", "db-password").stdout


def test_watch_shows_what_happens(ctl: Ctl, filled: FakeDaemon) -> None:
    """The state first, then every change, one line each."""
    with ctl.start("secrets", "watch", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = [process.stdout.readline().decode() for _ in range(2)]
        assert [line.split()[3] for line in first] == ["binary", "db-password"]
        filled.secrets.set("db-password", b"three")
        line = process.stdout.readline().decode()
        assert line.endswith("default  db-password  version 3  by tester  [current changed]\n")
        process.kill()


def test_watch_in_json(ctl: Ctl, filled: FakeDaemon) -> None:
    """Each line is an object; none has a value."""
    with ctl.start("secrets", "watch", "billing", "-o", "json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        state = json.loads(process.stdout.readline())
        assert [each["name"] for each in state["state"]["secrets"]] == ["key"]
        filled.secrets.set("key", CANARY.encode(), namespace="billing")
        line = process.stdout.readline().decode()
        assert json.loads(line)["change"]["event"] == "current_changed"
        assert CANARY not in line
        process.kill()


def test_the_keyring_rotates(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A new term, and how far the re-wrapping has come."""
    assert ctl("secrets", "keyring", "rotate").stdout.startswith("term 1 is active")
    lines = ctl("secrets", "keyring", "status").stdout.splitlines()
    assert lines[1].split()[:2] == ["1", "active"]
    assert lines[2] == "3 versions wrapped again, 4 to go"
    assert ctl.json("secrets", "keyring", "status")["remaining"] == 4


def test_nothing_but_access_shows_a_value(ctl: Ctl, filled: FakeDaemon) -> None:
    """Whatever a command prints, for people or machines, the value is not in it."""
    for arguments in (
        ("get", "db-password"),
        ("list",),
        ("versions", "db-password"),
        ("rotate", "db-password"),
        ("rotations",),
        ("update", "db-password", "--description", "x"),
        ("delete", "db-password", "-y"),
    ):
        for style in ("table", "json", "yaml"):
            result = ctl("secrets", *arguments, "-o", style)
            assert result.exit_code == 0
            assert CANARY not in result.output


def test_what_the_proto_marks_as_secret_is_null() -> None:
    """A message in the machines' shape never has a field that is marked debug_redact, whoever asks for it."""
    answer = secrets_pb2.AccessSecretResponse(value=CANARY.encode(), version=3)
    assert as_value(answer) == {"value": None, "version": 3, "create_time": None, "expire_time": None}


@pytest.mark.parametrize("command", ["put", "rotate"])
def test_a_value_is_no_argument(ctl: Ctl, command: str) -> None:
    """Whoever types one is told why, and what follows from it; it is not repeated."""
    refused = ctl("secrets", command, "db-password", "hunter2")
    assert refused.exit_code == 2
    assert "every process on the machine could read" in refused.stderr
    assert "hunter2" not in refused.stderr
