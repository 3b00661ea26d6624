"""Import and export: env files, the environment, encrypted files."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestryctl.commands.secrets.env_files import parse_env
from vestryctl.failures import Failure

PASSPHRASE = "twelve characters"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> str:
    """A file whose first line is the passphrase."""
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\r\nsomething else\n")
    return str(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("export A=1\n  export\tB = 2 \n", {"A": "1", "B": "2"}),
        ("# comment\n\n  # another\nA=1 # why\n", {"A": "1"}),
        ("A=a#b\nB= # nothing\nC=\nD=#x\n", {"A": "a#b", "B": "", "C": "", "D": ""}),
        ("A=a b c  \nB='x' # c\n", {"A": "a b c", "B": "x"}),
        ("A='$HOME \\n \"'\nB=$HOME\n", {"A": '$HOME \\n "', "B": "$HOME"}),
        ('A="x\\ny\\t\\"\\\\\\$z"\n', {"A": 'x\ny\t"\\$z'}),
        ("A=\"one\ntwo\"\nB='one\ntwo'\n", {"A": "one\ntwo", "B": "one\ntwo"}),
        ('A=1\r\nB="x\r\ny"\r\n', {"A": "1", "B": "x\ny"}),
        ("\ufeffA=ä=b\n", {"A": "ä=b"}),
        ("A.b-c=1", {"A.b-c": "1"}),
        ("A=it's\n", {"A": "it's"}),
        ("", {}),
    ],
)
def test_env_files(text: str, expected: dict[str, str]) -> None:
    """What people write into `.env` files, and nothing expanded."""
    assert {each.name: each.value for each in parse_env(text.encode(), ".env")} == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=1\nnonsense\n", r"\.env:2: a line is NAME=VALUE"),
        ("A=1\n\nA=2\n", r"\.env:3: A is given in line 1 already"),
        ("1A=x\n", r"\.env:1: a name begins"),
        ("A='x\n\n", r"\.env:1: a quote is opened here"),
        ("A=1\nB='x' y\n", r"\.env:2: only a comment"),
        ('A="\n\\q"\n', r"\.env:2: in double quotes"),
        ("A=\0\n", r"\.env:1: the value of A has a NUL"),
        ("=x\n", r"\.env:1: a line is NAME=VALUE"),
    ],
)
def test_a_bad_env_file_names_the_line(text: str, problem: str) -> None:
    """An error says which line, and never what the value is."""
    with pytest.raises(Failure, match=problem):
        parse_env(text.encode(), ".env")


def test_an_env_file_that_is_no_text_names_the_line() -> None:
    """Bytes that are not UTF-8 are an error that holds none of them."""
    with pytest.raises(Failure, match=r"\.env:2: the file is not UTF-8") as caught:
        parse_env(b"A=1\nB=\xff\n", ".env")
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0\r")))
def test_any_text_can_be_quoted(value: str) -> None:
    """A value in double quotes with its escapes comes back as it was."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    (variable,) = parse_env(f'A="{escaped}"\n'.encode(), ".env")
    assert variable.value == value
    assert repr(variable) == "<Variable A, line 1>"


@given(text=st.text(st.sampled_from("AB=#'\" \n\\x" + string.digits)))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever stands in a file, it is read, or refused with a sentence."""
    with contextlib.suppress(Failure):
        parse_env(text.encode(), ".env")


def test_import_of_env_files_and_the_environment(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Names with the prefix, without it, and variables that are named; the report has no value."""
    file = tmp_path / ".env"
    file.write_text("APP_DB=one\nOTHER=two\n")
    result = ctl(
        "secrets", "import", "--env-file", str(file), "--prefix", "APP_", "--from-env", "TOKEN", env={"TOKEN": "three"}
    )
    assert result.exit_code == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["DB", "1", "created"],
        ["TOKEN", "1", "created"],
    ]
    assert set(daemon.secrets.kept) == {("default", "DB"), ("default", "TOKEN")}
    assert daemon.secrets.value("TOKEN") == b"three"


def test_import_in_batches_of_thirty(ctl: Ctl, daemon: FakeDaemon) -> None:
    """However many there are, one call takes thirty."""
    result = ctl("secrets", "import", "--env-file", "-", stdin="".join(f"S_{n}={n}\n" for n in range(65)))
    assert result.exit_code == 0, result.stderr
    assert [len(request.secrets) for request in daemon.secrets.asked] == [30, 30, 5]
    assert len(daemon.secrets.kept) == 65


def test_a_batch_that_fails_tells_what_is_done(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A conflict in a later batch is exit code 4, and says how many are taken in."""
    daemon.secrets.set("S_40", b"other")
    result = ctl("secrets", "import", "--env-file", "-", stdin="".join(f"S_{n}={n}\n" for n in range(65)))
    assert result.exit_code == 4
    assert "the first 30 of 65 secrets are taken in" in result.stderr


@pytest.mark.parametrize(
    ("option", "code", "outcome", "value"),
    [("fail", 4, "", b"old"), ("skip", 0, "skipped", b"old"), ("replace", 0, "replaced", b"new")],
)
def test_what_is_there_already(
    ctl: Ctl, daemon: FakeDaemon, option: str, code: int, outcome: str, value: bytes
) -> None:
    """It is an error, or stays, or gets a new version."""
    daemon.secrets.set("A", b"old")
    result = ctl("secrets", "import", "--env-file", "-", "--on-conflict", option, stdin="A=new\n")
    assert result.exit_code == code
    assert outcome in result.stdout
    assert daemon.secrets.value("A") == value


def test_a_dry_run_changes_nothing(ctl: Ctl, daemon: FakeDaemon) -> None:
    """What would happen is told."""
    result = ctl("secrets", "import", "--env-file", "-", "--dry-run", stdin="A=new\n")
    assert result.stdout.endswith("nothing was changed\n")
    assert daemon.secrets.kept == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=\n", "-:1: the value of A is empty"),
        ("A_=x\n", "-:1: 'A_' can't be a secret's name"),
        ("P_A=1\nA=\n", "-:2: the value of A is empty"),
        (f"A={'x' * 65537}\n", "-:1: the value of A has more than 65536 bytes"),
    ],
)
def test_what_can_be_no_secret_is_refused_before_anything_is_sent(
    ctl: Ctl, daemon: FakeDaemon, text: str, problem: str
) -> None:
    """A bad name or value names its line, and nothing is taken in."""
    result = ctl("secrets", "import", "--env-file", "-", stdin=text)
    assert (result.exit_code, daemon.secrets.asked) == (1, [])
    assert problem in result.stderr


def test_a_name_from_two_sources_is_refused(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The same name twice would be decided by chance."""
    result = ctl("secrets", "import", "--env-file", "-", "--from-env", "A", stdin="A=1\n", env={"A": "2"})
    assert (result.exit_code, daemon.secrets.asked) == (1, [])
    assert "$A: A is given at -:1 already" in result.stderr


def test_nothing_to_import(ctl: Ctl, tmp_path: Path) -> None:
    """No source, an unset variable, a directory without files: each is a sentence."""
    assert ctl("secrets", "import").exit_code == 2
    assert "the environment has no NOPE" in ctl("secrets", "import", "--from-env", "NOPE").stderr
    assert "has no *.enc files" in ctl("secrets", "import", str(tmp_path)).stderr


def test_export_and_import_go_round(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, passphrase_file: str) -> None:
    """Files for the owner alone, one for each secret, that come back as they were."""
    daemon.secrets.set("a", b"one")
    daemon.secrets.set("b", b"two\n")
    directory = tmp_path / "out"
    result = ctl("secrets", "export", str(directory), "--passphrase-file", passphrase_file)
    assert result.exit_code == 0, result.stderr
    assert sorted(file.name for file in directory.iterdir()) == ["a.enc", "b.enc"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in directory.iterdir())
    daemon.secrets.kept.clear()
    result = ctl("secrets", "import", str(directory), "--passphrase-file", passphrase_file)
    assert result.exit_code == 0, result.stderr
    assert (daemon.secrets.value("a"), daemon.secrets.value("b")) == (b"one", b"two\n")


def test_export_of_some(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, passphrase_file: str) -> None:
    """Only what is named; for machines the report says where."""
    daemon.secrets.set("a", b"one")
    daemon.secrets.set("b", b"two")
    answer = ctl.json("secrets", "export", str(tmp_path / "out"), "b", "--passphrase-file", passphrase_file)
    assert answer == {"secrets": [{"name": "b", "version": 1, "file": str(tmp_path / "out" / "b.enc")}]}


def test_export_refuses_an_open_directory(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, passphrase_file: str) -> None:
    """A directory that others can look into is no place for secrets."""
    directory = tmp_path / "open"
    directory.mkdir(mode=0o755)
    result = ctl("secrets", "export", str(directory), "--passphrase-file", passphrase_file)
    assert result.exit_code == 1
    assert "chmod 700" in result.stderr


def test_export_asks_for_the_passphrase_twice(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path) -> None:
    """A passphrase that nobody can repeat would make files that nobody can open."""
    daemon.secrets.set("a", b"one")
    terminal = ctl.at_terminal("secrets", "export", str(tmp_path / "out"))
    terminal.read_until("Passphrase:")
    terminal.type(PASSPHRASE + "\n")
    terminal.read_until("Repeat for confirmation:")
    terminal.type(PASSPHRASE + "\n")
    assert terminal.finish() == 0
    assert PASSPHRASE not in terminal.output


def test_a_wrong_passphrase(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, passphrase_file: str) -> None:
    """The daemon says that it opens nothing; nothing is taken in; without a terminal none is asked for."""
    file = tmp_path / "a.enc"
    file.write_bytes(b"another\na\nvalue")
    result = ctl("secrets", "import", str(file), "--passphrase-file", passphrase_file)
    assert (result.exit_code, daemon.secrets.kept) == (1, {})
    assert ctl("secrets", "import", str(file)).exit_code == 2
