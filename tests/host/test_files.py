from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vestryd.domain.jsonvalue import MAX_DOCUMENT_BYTES
from vestryd.domain.sources import SourceFile, Sources
from vestryd.host.files import ConfigTree, PolicyFiles

NOBODY = 65534


def write(root: Path, name: str, content: str = "{}") -> Path:
    """Write a file of the tree, its directories included."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def problem(root: Path, namespace: str = "default", slot: str = "default") -> str:
    """Return what is wrong with a slot of the tree, which must not have a content then."""
    file = ConfigTree(root, "production").read(namespace)[slot]
    assert file.content is None
    return file.problem


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Give up root's rights for a while, with a directory to be in that everybody may enter."""
    if os.geteuid():
        pytest.skip("only root can become nobody")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_tree_is_a_source(tmp_path: Path) -> None:
    """The tree is what the domain calls sources."""
    sources: Sources = ConfigTree(tmp_path, "production")
    assert sources.read("default") == {}


def test_each_slot_has_its_file(tmp_path: Path) -> None:
    """schema, default, the environment's file and override fill the slots; the ending tells the format."""
    write(tmp_path, "schema.json", "s")
    write(tmp_path, "default.yaml", "d")
    write(tmp_path, "production.yml", "p")
    write(tmp_path, "override.toml", "o")
    assert ConfigTree(tmp_path, "production").read("default") == {
        "schema": SourceFile(str(tmp_path / "schema.json"), "json", b"s"),
        "default": SourceFile(str(tmp_path / "default.yaml"), "yaml", b"d"),
        "environment": SourceFile(str(tmp_path / "production.yml"), "yaml", b"p"),
        "override": SourceFile(str(tmp_path / "override.toml"), "toml", b"o"),
    }


def test_each_slot_of_the_policy_has_its_file(tmp_path: Path) -> None:
    """access, access.<environment> and access.override fill the slots of the one policy; it has no schema of its own."""
    write(tmp_path, "access.json", "d")
    write(tmp_path, "access.production.yaml", "p")
    write(tmp_path, "access.override.toml", "o")
    write(tmp_path, "access.development.json", "another environment's")
    write(tmp_path, "schema.json", "a namespace's")
    files: Sources = PolicyFiles(tmp_path, "production")
    assert (files.names(), files.problems()) == (("policy",), ())
    assert files.read("policy") == {
        "default": SourceFile(str(tmp_path / "access.json"), "json", b"d"),
        "environment": SourceFile(str(tmp_path / "access.production.yaml"), "yaml", b"p"),
        "override": SourceFile(str(tmp_path / "access.override.toml"), "toml", b"o"),
    }
    assert set(ConfigTree(tmp_path, "production").read("default")) == {"schema"}


def test_the_policys_files_have_the_problems_of_others(tmp_path: Path) -> None:
    """Two files for a slot, what is no file, and a tree that isn't there: problems, and no absent files."""
    write(tmp_path, "access.json")
    write(tmp_path, "access.toml")
    (tmp_path / "access.override.json").mkdir()
    found = PolicyFiles(tmp_path, "production").read("policy")
    assert found["default"].problem == "access.json and access.toml are both there: keep one"
    assert found["override"].problem == "can't be read: Is a directory"
    gone = PolicyFiles(tmp_path / "gone", "production").read("policy")
    assert gone["default"].problem == "can't be read: No such file or directory"


def test_path_of_a_file_of_the_policy(tmp_path: Path) -> None:
    """A slot's path is that of its file, and without one that of the JSON file that it could have."""
    files = PolicyFiles(tmp_path, "production")
    assert files.path_of("policy", "environment") == str(tmp_path / "access.production.json")
    written = write(tmp_path, "access.production.yml")
    assert files.path_of("policy", "environment") == str(written)


def test_other_files_are_not_read(tmp_path: Path) -> None:
    """Other environments' files, editors' leftovers, hidden files and unknown endings are nobody's slot."""
    for name in ("development.json", "default.json~", ".default.json.swp", "default.ini", "README.md", "vestryd.toml"):
        write(tmp_path, name)
    assert ConfigTree(tmp_path, "production").read("default") == {}


def test_namespaces_are_directories(tmp_path: Path) -> None:
    """The namespaces are default and the directories in namespaces/, by name; links to directories count."""
    write(tmp_path, "namespaces/payments/default.json", "p")
    write(tmp_path, "namespaces/README.md")
    write(tmp_path, "namespaces/..2026/default.json")
    write(tmp_path, "elsewhere/default.json", "a")
    (tmp_path / "namespaces" / "accounts").symlink_to(tmp_path / "elsewhere")
    tree = ConfigTree(tmp_path, "production")
    assert tree.names() == ("accounts", "default", "payments")
    assert tree.read("payments")["default"].content == b"p"
    assert tree.read("accounts")["default"].content == b"a"


def test_directories_that_cannot_be_namespaces_are_named(tmp_path: Path) -> None:
    """A directory whose name is no namespace's, or is that of the tree itself, is reported and not read."""
    write(tmp_path, "namespaces/Bad Name/default.json")
    write(tmp_path, "namespaces/default/default.json")
    tree = ConfigTree(tmp_path, "production")
    assert tree.names() == ("default",)
    assert tree.read("default") == {}
    (bad, bad_problem), (twice, twice_problem) = tree.problems()
    assert bad == str(tmp_path / "namespaces" / "Bad Name")
    assert "can't be used" in bad_problem
    assert twice == str(tmp_path / "namespaces" / "default")
    assert "move its files up" in twice_problem


def test_a_vanished_namespace_is_empty(tmp_path: Path) -> None:
    """A namespace whose directory is gone has no files."""
    assert ConfigTree(tmp_path, "production").read("gone") == {}


def test_a_vanished_tree_is_a_problem(tmp_path: Path) -> None:
    """A tree that isn't there doesn't pass for one without files."""
    tree = ConfigTree(tmp_path / "gone", "production")
    assert tree.names() == ("default",)
    assert tree.problems() == ()
    assert problem(tmp_path / "gone") == "can't be read: No such file or directory"


def test_path_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A slot's path is that of its file, and without one that of the JSON file that it could have."""
    tree = ConfigTree(tmp_path, "production")
    assert tree.path_of("default", "environment") == str(tmp_path / "production.json")
    assert tree.path_of("payments", "override") == str(tmp_path / "namespaces" / "payments" / "override.json")
    written = write(tmp_path, "production.yaml")
    assert tree.path_of("default", "environment") == str(written)


def test_two_files_for_one_slot(tmp_path: Path) -> None:
    """Two files for the same slot are a problem: neither of them wins."""
    write(tmp_path, "default.json")
    write(tmp_path, "default.toml")
    assert problem(tmp_path) == "default.json and default.toml are both there: keep one"


def test_largest_file_is_read_and_no_larger_one(tmp_path: Path) -> None:
    """A file of 1 MiB is read, one byte more is a problem."""
    path = write(tmp_path, "default.json", "x" * MAX_DOCUMENT_BYTES)
    assert ConfigTree(tmp_path, "production").read("default")["default"].problem == ""
    path.write_text("x" * (MAX_DOCUMENT_BYTES + 1))
    assert problem(tmp_path) == "is larger than 1048576 bytes"


def test_what_is_not_a_file(tmp_path: Path) -> None:
    """Directories, FIFOs (without waiting for a writer), devices, broken links and loops are problems."""
    path = tmp_path / "default.json"
    path.mkdir()
    assert problem(tmp_path) == "can't be read: Is a directory"
    path.rmdir()
    os.mkfifo(path)
    assert problem(tmp_path) == "can't be read: not a regular file"
    for target, expected in (
        ("/dev/zero", "can't be read: not a regular file"),
        ("nowhere", "is a symbolic link to nothing"),
        ("default.json", "can't be read: Too many levels of symbolic links"),
    ):
        path.unlink()
        path.symlink_to(target)
        assert problem(tmp_path) == expected


def test_links_are_followed(tmp_path: Path) -> None:
    """A link to a file is read through, as Kubernetes lays out a mounted ConfigMap."""
    write(tmp_path, "..2026_01/default.json", "v1")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "default.json").symlink_to("..data/default.json")
    file = ConfigTree(tmp_path, "production").read("default")["default"]
    assert file == SourceFile(str(tmp_path / "default.json"), "json", b"v1")


def test_unreadable_file_and_directory() -> None:
    """What the daemon has no right to read is a problem; a directory that it can't enter doesn't pass for an empty one."""
    with as_nobody() as root:
        write(root, "default.json").chmod(0)
        write(root, "namespaces/closed/default.json").parent.chmod(0)
        write(root, "locked/namespaces/one/default.json")
        (root / "locked" / "namespaces").chmod(0)
        os.seteuid(NOBODY)
        try:
            assert problem(root) == "can't be read: Permission denied"
            assert problem(root, "closed", "schema") == "can't be read: Permission denied"
            locked = ConfigTree(root / "locked", "production")
            assert locked.names() == ("default",)
            assert locked.problems() == ((str(root / "locked/namespaces"), "can't be read: Permission denied"),)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(("saves", "expected"), [(0, ""), (1, ""), (2, ""), (9, "is being written")])
def test_a_file_that_changes_while_it_is_read(
    saves: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes while it is read is read again, three times in all; then that is the problem."""
    path = write(tmp_path, "default.json", "")
    look = os.fstat
    sizes = iter(range(1, saves + 1))

    def look_and_save(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        size = next(sizes, None)
        if size:
            path.write_text("x" * size)
        return status

    monkeypatch.setattr(os, "fstat", look_and_save)
    file = ConfigTree(tmp_path, "production").read("default")["default"]
    assert file.problem.startswith(expected)
    assert file.content == (None if expected else b"x" * saves)
