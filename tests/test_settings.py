from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.errors import SettingsInvalid
from vestryd.settings import Settings, load, variable
from vestryd.settings.model import Secrets

SHIPPED = Path(__file__).parents[1] / "config" / "vestryd.toml"


def problems_of(path: Path | None = None, environ: dict[str, str] | None = None) -> list[str]:
    """Return what is wrong with these settings."""
    with pytest.raises(SettingsInvalid) as caught:
        load(path, environ=environ or {}, overrides={})
    return list(caught.value.problems)


def written(directory: Path, text: str) -> Path:
    """Write a settings file."""
    path = directory / "vestryd.toml"
    path.write_text(text)
    return path


def flat(section: Any, prefix: str = "") -> dict[str, Any]:
    """Return key -> value of every setting."""
    found: dict[str, Any] = {}
    for one in fields(section):
        value = getattr(section, one.name)
        found |= flat(value, f"{prefix}{one.name}.") if is_dataclass(value) else {prefix + one.name: value}
    return found


def test_shipped_file_lists_every_setting() -> None:
    """config/vestryd.toml has exactly the keys that there are."""
    document = tomllib.loads(SHIPPED.read_text())
    tables = {name: value for name, value in document.items() if isinstance(value, dict)}
    keys = {name for name in document if name not in tables}
    keys |= {f"{table}.{key}" for table, values in tables.items() for key in values}
    assert keys == set(flat(Settings()))


def test_shipped_file_gives_the_defaults() -> None:
    """Every value in config/vestryd.toml is the one that holds without the file, but for where the tree is."""
    without = load(None, environ={}, overrides={"config.directory": SHIPPED.parent})
    assert load(SHIPPED, environ={}, overrides={}) == without


def test_shipped_file_explains_every_setting() -> None:
    """In config/vestryd.toml a comment stands above each key and each table."""
    lines = SHIPPED.read_text().splitlines()
    for above, line in pairwise(lines):
        if line and not line.startswith("#"):
            assert above.startswith("#"), line


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    """An override beats a variable, a variable beats the file, the file beats the default."""
    path = written(tmp_path, 'environment = "file"\n[log]\nlevel = "error"\n[watch]\nheartbeat_seconds = 5\n')
    environ = {"VESTRY_ENVIRONMENT": "variable", "VESTRY_LOG_LEVEL": "debug"}
    settings = load(path, environ=environ, overrides={"environment": "option", "log.format": None})
    assert settings.environment == "option"
    assert settings.log.level == "debug"
    assert settings.watch.heartbeat_seconds == 5
    assert settings.log.format == "auto"


@pytest.mark.parametrize("key", sorted(flat(Settings())))
def test_every_setting_has_a_variable(key: str, tmp_path: Path) -> None:
    """The variable named after a key sets that key, whatever its type."""
    value = flat(Settings())[key]
    text = "" if value in (None, ()) else str(value)
    settings = load(None, environ={variable(key): text}, overrides={})
    assert flat(settings)[key] == (Path.cwd() / value if isinstance(value, Path) else value)


def test_no_setting_has_a_variable_of_the_clients() -> None:
    """The names that the client library reads are none of the daemon's."""
    environ = {"VESTRY_ADDRESS": "x", "VESTRY_CACHE_DIR": "x", "VESTRY_CLIENT_NAME": "x", "VESTRY_OUTPUT": "x"}
    assert load(None, environ=environ, overrides={}) == load(None, environ={}, overrides={})
    assert not [key for key in flat(Settings()) if variable(key).startswith(tuple(environ))]


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    """A relative path in the file means one beside the file; the store is relative to the state directory."""
    settings = load(written(tmp_path, 'state_directory = "state"'), environ={}, overrides={})
    assert settings.state_directory == tmp_path / "state"
    assert settings.store_path == tmp_path / "state" / "vestry.db"
    assert settings.config.directory == tmp_path


def test_systemd_names_the_directories() -> None:
    """The directories that systemd made for the unit are the defaults; the first one, when it made several."""
    environ = {"STATE_DIRECTORY": "/s/a:/s/b", "RUNTIME_DIRECTORY": "/r", "CONFIGURATION_DIRECTORY": "/c"}
    settings = load(None, environ=environ, overrides={})
    assert settings.state_directory == Path("/s/a")
    assert settings.listen.unix == "/r/vestry.sock"
    assert settings.config.directory == Path("/c")


def test_unknown_names_are_refused_with_a_suggestion(tmp_path: Path) -> None:
    """A misspelt key, table or variable is an error that names the likely one."""
    path = written(tmp_path, 'enviroment = "x"\ntcp = "x"\n[lisen]\ntcp = "x"\n[log]\nlevl = "info"\nzzz = 1\n')
    assert problems_of(path, {"VESTRY_LISTEN_TPC": "x", "VESTRY_LOG_LEVL": "x"}) == [
        f"{path}: enviroment: there is no such setting; did you mean environment?",
        f"{path}: tcp: there is no such setting; did you mean listen.tcp?",
        f"{path}: lisen: there is no such setting; did you mean listen?",
        f"{path}: log.levl: there is no such setting; did you mean log.level?",
        f"{path}: log.zzz: there is no such setting",
        "VESTRY_LISTEN_TPC: there is no such setting; did you mean VESTRY_LISTEN_TCP?",
        "VESTRY_LOG_LEVL: there is no such setting; did you mean VESTRY_LOG_LEVEL?",
    ]


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """Wrong types, ranges and choices in the file, the environment and the command line are reported together."""
    path = written(
        tmp_path,
        """
        environment = 3
        listen = "x"
        [store]
        kind = "etcd"
        history_revisions = 2.5
        [config]
        poll_seconds = "10"
        debounce_milliseconds = true
        directory = ""
        [watch]
        heartbeat_seconds = nan
        [history]
        versions = 0
        """,
    )
    environ = {"VESTRY_LIMITS_REQUEST_BYTES": "4 MiB", "VESTRY_HISTORY_DAYS": "-1"}
    with pytest.raises(SettingsInvalid) as caught:
        load(path, environ=environ, overrides={"log.level": "loud"})
    assert list(caught.value.problems) == [
        f"{path}: environment: must be text, not 3",
        f"{path}: listen: must be a table",
        f"{path}: store.kind: must be one of sqlite, memory, not 'etcd'",
        f"{path}: store.history_revisions: must be a whole number, not 2.5",
        f"{path}: config.poll_seconds: must be a number, not '10'",
        f"{path}: config.debounce_milliseconds: must be a whole number, not True",
        f"{path}: config.directory: must not be empty",
        f"{path}: watch.heartbeat_seconds: must be between 0.05 and 3600, not nan",
        f"{path}: history.versions: must be between 1 and 1000000, not 0",
        "VESTRY_HISTORY_DAYS: must be between 0 and 36500, not -1.0",
        "VESTRY_LIMITS_REQUEST_BYTES: must be a whole number, not '4 MiB'",
        "--log-level: must be one of debug, info, warning, error, not 'loud'",
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:8378", "127.8.9.10:1", "[::1]:0", "localhost:8378", ""])
def test_tcp_on_loopback_is_accepted(address: str) -> None:
    """Each way of writing a loopback address will do, and so will none."""
    assert load(None, environ={}, overrides={"listen.tcp": address}).listen.tcp == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8378", "[::]:8378", "10.0.0.1:8378", "example.org:8378", "[2001:db8::1]:80"]
)
def test_tcp_elsewhere_is_refused(address: str) -> None:
    """An address that other machines can reach is refused without TLS, and the message says what to set."""
    (problem,) = problems_of(environ={"VESTRY_LISTEN_TCP": address})
    assert problem.startswith(f"listen.tcp: must be a loopback address, not {address!r}, unless")
    tls = {"listen.tls_certificate": "cert.pem", "listen.tls_key": "key.pem"}
    assert load(None, environ={}, overrides={"listen.tcp": address, **tls}).listen.tcp == address


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["certificate"], "need each other"),
        (["key"], "need each other"),
        (["client_ca"], "mean nothing without listen.tls_certificate"),
        (["certificate", "key", "crl"], "means nothing without listen.tls_client_ca"),
    ],
)
def test_what_tls_needs_is_asked_for(given: list[str], problem: str) -> None:
    """A certificate needs its key, a client CA a certificate, and a list of revoked ones a client CA."""
    environ = {f"VESTRY_LISTEN_TLS_{name.upper()}": "file.pem" for name in given}
    assert [problem in one for one in problems_of(environ=environ)] == [True]


def test_a_list_is_written_with_commas_in_a_variable(tmp_path: Path) -> None:
    """And as a list in the file; anything else is refused."""
    assert load(None, environ={"VESTRY_SECRETS_FROM_ENVIRONMENT": "A, b/c=D,"}, overrides={}).secrets == Secrets(
        from_environment=("A", "b/c=D")
    )
    file = written(tmp_path, '[secrets]\nfrom_environment = ["A", 1]')
    (problem,) = problems_of(file)
    assert "must be a list of texts, not ['A', 1]" in problem


@pytest.mark.parametrize(
    "address",
    ["8378", ":8378", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "::1:8378", "[::1:8378"],
)
def test_tcp_must_be_an_address(address: str) -> None:
    """Anything but host:port is refused."""
    (problem,) = problems_of(environ={"VESTRY_LISTEN_TCP": address})
    assert "must be host:port" in problem


def test_a_listener_is_needed() -> None:
    """A daemon that nobody could reach doesn't start."""
    environ = {"VESTRY_LISTEN_TCP": "", "VESTRY_LISTEN_UNIX": ""}
    assert problems_of(environ=environ) == ["listen.unix and listen.tcp are both empty: nobody could reach the daemon"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("VESTRY_LISTEN_UNIX", "run/vestry.sock", "must be an absolute path"),
        ("VESTRY_LISTEN_UNIX", "/" + "x" * 102, "must be at most 102 bytes long"),
        ("VESTRY_LISTEN_UNIX_MODE", "0888", "must be octal digits"),
        ("VESTRY_ENVIRONMENT", "Production!", "can't be used"),
        ("VESTRY_ENVIRONMENT", "schema", "is taken"),
        ("VESTRY_STORE_PATH", "", "must not be empty"),
    ],
)
def test_unusable_text_is_refused(name: str, value: str, problem: str) -> None:
    """A text that can't mean what its setting needs is refused by the setting's own rule."""
    (found,) = problems_of(environ={name: value})
    assert found.startswith(f"{name}: ")
    assert problem in found


def test_socket_mode_is_octal() -> None:
    """The mode is read as the octal digits that chmod takes."""
    assert load(None, environ={"VESTRY_LISTEN_UNIX_MODE": "0640"}, overrides={}).listen.unix_mode_bits == 0o640


def test_syntax_error_tells_where(tmp_path: Path) -> None:
    """A file that isn't TOML is refused with the line and column, and what else is wrong is still reported."""
    path = written(tmp_path, "[log]\nlevel = loud\n")
    problems = problems_of(path, {"VESTRY_LOG_LEVEL": "x"})
    assert "(at line 2, column 9)" in problems[0]
    assert problems[1].startswith("VESTRY_LOG_LEVEL")


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file that is missing or isn't text is an error, not a reason to go on with the defaults."""
    missing = tmp_path / "missing.toml"
    assert problems_of(missing) == [f"{missing}: can't be read: No such file or directory"]
    (tmp_path / "latin.toml").write_bytes(b'environment = "\xe9"')
    assert problems_of(tmp_path / "latin.toml") == [f"{tmp_path}/latin.toml: isn't UTF-8: byte 15 is wrong"]


@given(st.dictionaries(st.sampled_from(sorted(variable(key) for key in flat(Settings()))), st.text(max_size=20)))
def test_any_environment_gives_settings_or_problems(environ: dict[str, str]) -> None:
    """No value of a variable, however odd, raises anything but SettingsInvalid."""
    try:
        load(None, environ=environ, overrides={})
    except SettingsInvalid as error:
        assert error.problems  # noqa: PT017 - either outcome will do
