"""Files that can't be used, saved into a live tree: what was in force stays, and everybody is told why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.daemon import VESTRYD, Daemon, until
from e2e.privileges import without_roots_rights
from e2e.watch import RawWatch

pytestmark = pytest.mark.e2e

SLOW_PATTERN = "^(a+)+$"  # where a regular expression is matched by trying: 2^50 steps for fifty letters and a mark
SCHEMA = {"properties": {"server": {"type": "object"}, "slug": {"pattern": SLOW_PATTERN}}}
DEFAULT = {"server": {"port": 80}}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SECONDS = 5.0  # for a file to be judged: nothing in it may take long

# file, content, rule, part of the message
WRONG: dict[str, tuple[str, object, str, str]] = {
    "syntax-json": ("override.json", '{"a": 1\n "b": 2}', "syntax", ":2:2"),
    "syntax-yaml": ("override.yaml", "a: [1\nb: 2\n", "syntax", ":2:"),
    "syntax-toml": ("override.toml", "a = 1\nb = \n", "syntax", ":2:"),
    "duplicate-json": ("override.json", '{"a": 1, "a": 2}', "syntax", "given twice"),
    "duplicate-yaml": ("override.yaml", "a: 1\na: 2\n", "syntax", "given twice"),
    "nan-json": ("override.json", '{"a": NaN}', "syntax", "NaN"),
    "nan-yaml": ("override.yaml", "a: .nan\n", "syntax", ""),
    "deep": ("override.json", '{"a":' * 10_000 + "1" + "}" * 10_000, "depth", "deeper"),
    "10-mib": ("override.json", b'{"a": "' + b"x" * 10 * 1024 * 1024 + b'"}', "source", "larger"),
    "yaml-bomb": ("override.yaml", BOMB, "size", "aliases"),
    "not-utf-8": ("override.json", b'{"a": "\xff\xfe"}', "encoding", ""),
    "empty": ("override.json", b"", "syntax", ""),
    "no-object": ("override.json", "[]", "type", ""),
    "breaks-the-schema": ("override.json", '{"server": 1}', "type", "/server"),
    "invalid-schema": ("schema.json", '{"type": 12}', "schema", ""),
    "remote-reference": ("schema.json", '{"$ref": "http://127.0.0.1:9/schema.json"}', "schema", "127.0.0.1"),
    "slow-pattern": ("override.json", {"slug": "a" * 50 + "!"}, "pattern", "/slug"),
    "symlink-loop": ("override.json", Path("override.json"), "source", "symbolic link"),
    "dangling-symlink": ("override.json", Path("nowhere"), "source", "symbolic link to nothing"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all files of this file: each is mended before the next one comes."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    daemon.save("schema.json", SCHEMA)
    daemon.save("default.json", DEFAULT)
    daemon.start()
    yield daemon
    daemon.stop()
    assert '"level": "error"' not in daemon.log()
    daemon.close()


@pytest.mark.parametrize("kind", WRONG)
def test_a_bad_file_changes_nothing(served: Daemon, kind: str) -> None:
    """The old version stays in force, status and watchers name file and reason, and mending it makes all well again."""
    name, content, rule, part = WRONG[kind]
    with RawWatch(served.config) as watch:
        with _saved(served, name, content):
            (rejected,) = until(watch.rejections, "the watcher is told of the rejection", seconds=SECONDS)
            _check_rejection(served, rejected.rejection, rule, str(served.tree / name), part)
            assert rejected.version == 1
            assert served.get() == (1, DEFAULT)
        until(lambda: len(watch.rejections()) == 2, "the watcher is told that all is well", seconds=SECONDS)
        assert not watch.rejections()[1].HasField("rejection")
        assert not served.status().HasField("rejection")
        assert watch.versions() == [1]


def test_a_directory_is_no_file(served: Daemon) -> None:
    """A directory in the place of a file is refused, not passed over."""
    (served.tree / "override.json").mkdir()
    rejection = until(lambda: served.status().rejection.violations, "the directory is refused", seconds=SECONDS)[0]
    assert "override.json" in rejection.file
    (served.tree / "override.json").rmdir()
    until(lambda: not served.status().HasField("rejection"), "all is well", seconds=SECONDS)


def test_two_files_for_one_layer_are_refused(served: Daemon) -> None:
    """Nobody has to guess which of override.json and override.yaml wins: neither does."""
    served.save("override.json", {})
    served.save("override.yaml", "{}")
    rejection = until(lambda: served.status().rejection.violations, "they are refused", seconds=SECONDS)[0]
    assert "override.json and override.yaml" in rejection.message
    (served.tree / "override.json").unlink()
    until(lambda: not served.status().HasField("rejection"), "all is well", seconds=SECONDS)
    (served.tree / "override.yaml").unlink()


def test_an_unreadable_file_is_refused(make_daemon: Callable[..., Daemon]) -> None:
    """A file that the daemon may not read is refused, and taken in as soon as it may."""
    daemon = make_daemon(command=(*without_roots_rights(), *VESTRYD)).start()
    daemon.save("override.json", {"a": 1})
    until(lambda: daemon.get()[0] == 2, "the file is taken in")
    (daemon.tree / "override.json").chmod(0)
    rejection = until(lambda: daemon.status().rejection.violations, "the file is refused")[0]
    assert "ermission denied" in rejection.message
    assert daemon.get()[0] == 2
    (daemon.tree / "override.json").chmod(0o600)
    until(lambda: not daemon.status().HasField("rejection"), "all is well")


def test_the_last_of_many_mistakes_counts(daemon: Daemon) -> None:
    """A burst of good and bad saves ends with what was saved last in force."""
    for number in range(50):
        daemon.save("override.json", "{" if number % 2 else {"number": number})
    daemon.save("override.json", {"number": "last"})
    until(lambda: daemon.get()[1].get("number") == "last", "the last one is in force")
    until(lambda: not daemon.status().HasField("rejection"), "all is well")


def test_a_new_namespace_with_bad_files_is_a_problem(daemon: Daemon) -> None:
    """A namespace that never was in force is told in the status line, and served once its files are mended."""
    daemon.save("namespaces/billing/default.json", "{")
    assert "config/billing" in daemon.notify.wait_for("STATUS")["STATUS"]
    daemon.save("namespaces/billing/default.json", {"a": 1})
    until(lambda: daemon.notify.wait_for("STATUS")["STATUS"] == "serving 2 namespaces", "it is served")
    assert daemon.get("billing") == (1, {"a": 1})


def _check_rejection(daemon: Daemon, told: Any, rule: str, file: str, part: str) -> None:
    """Check that watchers, callers and the log are told the same: the file, the rule and what is wrong."""
    assert daemon.status().rejection == told
    violation = told.violations[0]
    place = f"{violation.file}:{violation.line}:{violation.column} {violation.pointer} {violation.message}"
    assert (violation.rule, part in place) == (rule, True), place
    assert violation.file == file
    logged = daemon.lines("document.rejected")[-1]["violations"][0]
    assert (logged["file"], logged["rule"]) == (file, rule)


@contextmanager
def _saved(daemon: Daemon, name: str, content: object) -> Iterator[None]:
    """Have a file in the tree, a link if `content` is a path, and mend the tree when the block ends."""
    if isinstance(content, Path):
        (daemon.tree / name).symlink_to(content)
    else:
        daemon.save(name, content)
    try:
        yield
    finally:
        if name == "schema.json":
            daemon.save(name, SCHEMA)
        else:
            (daemon.tree / name).unlink()
