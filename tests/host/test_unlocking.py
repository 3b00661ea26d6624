from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from host.test_files import NOBODY, as_nobody
from vestryd.domain.errors import InvalidField, UnlockRefused
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets.unlock import Material
from vestryd.host.unlocking import MAX_KEY_BYTES, UnlockSources, _write_new

KEY = bytes(range(32))
CREDENTIAL = b"c" * 40


def key_file(path: Path, content: bytes = KEY, mode: int = 0o600) -> Path:
    """Write a key file."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def credentials(directory: Path, **files: bytes) -> dict[str, str]:
    """Return the environment of a unit with credentials, as systemd sets it up: its ACL looks like a group's right."""
    directory.mkdir()
    for name, content in files.items():
        key_file(directory / name.replace("__", ".").replace("_", "-"), content, 0o440)
    return {"CREDENTIALS_DIRECTORY": str(directory)}


class TestTheOrder:
    """Which source comes first."""

    def test_credential_key_file_and_variable_come_in_this_order(self, tmp_path: Path) -> None:
        """Each says what it is, and names its source for people."""
        environ = credentials(tmp_path / "credentials", vestry__unlock_key=CREDENTIAL)
        environ["VESTRY_UNLOCK_PASSPHRASE"] = "correct horse battery"
        path = key_file(tmp_path / "key")
        sources = UnlockSources(path, tmp_path, environ)
        assert sources.materials() == [
            Material(SlotKind.SYSTEMD_CREDENTIAL, CREDENTIAL, "systemd credential vestry.unlock-key"),
            Material(SlotKind.KEY_FILE, KEY, f"key file {path}"),
            Material(SlotKind.ENVIRONMENT, b"correct horse battery", "the variable VESTRY_UNLOCK_PASSPHRASE"),
        ]
        assert sources.problems() == ()

    def test_without_any_there_is_nothing(self, tmp_path: Path) -> None:
        """And nothing is wrong: nobody has made the default yet."""
        sources = UnlockSources(None, tmp_path, {"VESTRY_UNLOCK_PASSPHRASE": ""})
        assert (sources.materials(), sources.problems(), sources.warnings()) == ([], (), ())

    def test_a_passphrase_for_development_is_warned_of(self, tmp_path: Path) -> None:
        """But not told."""
        sources = UnlockSources(None, tmp_path, {"VESTRY_UNLOCK_PASSPHRASE": "correct horse battery"})
        sources.materials()
        (warning,) = sources.warnings()
        assert "for development" in warning
        assert "horse" not in warning + repr(sources.materials())


class TestTheDefault:
    """The key file of the daemon's own."""

    def test_it_is_made_once_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        """With 32 random bytes; a second try leaves it as it is."""
        sources = UnlockSources(None, tmp_path, {})
        sources.create_default()
        (first,) = sources.materials()
        sources.create_default()
        assert sources.materials() == [first]
        assert len(first.secret) == 32
        assert stat.S_IMODE((tmp_path / "unlock.key").stat().st_mode) == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["unlock.key"]

    def test_it_is_warned_of_as_long_as_it_is_used(self, tmp_path: Path) -> None:
        """Since it lies beside the store."""
        sources = UnlockSources(None, tmp_path, {})
        sources.create_default()
        sources.materials()
        (warning,) = sources.warnings()
        assert f"beside the store, in {tmp_path}/unlock.key" in warning

    @pytest.mark.parametrize("source", ["credential", "file", "missing file", "variable"])
    def test_it_is_not_made_beside_another_source(self, tmp_path: Path, source: str) -> None:
        """Be that usable or not."""
        environ = {"variable": {"VESTRY_UNLOCK_PASSPHRASE": "x"}}.get(source, {})
        if source == "credential":
            environ = credentials(tmp_path / "credentials", vestry__unlock_key=CREDENTIAL)
        path = key_file(tmp_path / "key") if source == "file" else tmp_path / "none" if "missing" in source else None
        UnlockSources(path, tmp_path, environ).create_default()
        assert not (tmp_path / "unlock.key").exists()

    def test_it_is_tried_last_by_who_has_moved_on(self, tmp_path: Path) -> None:
        """So a key file may be configured before it has a slot."""
        UnlockSources(None, tmp_path, {}).create_default()
        path = key_file(tmp_path / "key")
        found = UnlockSources(path, tmp_path, {}).materials()
        assert [one.source for one in found] == [f"key file {path}", f"key file {tmp_path}/unlock.key"]

    def test_it_never_stands_in_for_a_source_that_can_not_be_used(self, tmp_path: Path) -> None:
        """What was configured to be safer must not fall back in silence."""
        UnlockSources(None, tmp_path, {}).create_default()
        sources = UnlockSources(tmp_path / "none", tmp_path, {})
        assert sources.materials() == []
        assert sources.problems() == (f"key file {tmp_path}/none can't be used: there is no such file",)

    def test_what_a_crash_left_behind_does_not_matter(self, tmp_path: Path) -> None:
        """The key is made whole, or not at all."""
        (tmp_path / "unlock.key.new").write_bytes(b"half")
        sources = UnlockSources(None, tmp_path, {})
        sources.create_default()
        assert len(sources.materials()[0].secret) == 32
        assert not (tmp_path / "unlock.key.new").exists()

    def test_a_key_is_never_written_over(self, tmp_path: Path) -> None:
        """Also not one that appeared at the last moment."""
        path = key_file(tmp_path / "unlock.key")
        with pytest.raises(FileExistsError):
            _write_new(path, b"another")
        assert [one.read_bytes() for one in tmp_path.iterdir()] == [KEY]

    def test_one_that_can_not_be_made_is_a_problem(self, tmp_path: Path) -> None:
        """And not a crash."""
        sources = UnlockSources(None, tmp_path / "missing", {})
        sources.create_default()
        assert sources.materials() == []
        (problem,) = sources.problems()
        assert "unlock.key can't be made: No such file or directory" in problem


class TestAKeyFile:
    """What is refused."""

    @pytest.mark.parametrize(
        ("make", "problem"),
        [
            (lambda path: None, "there is no such file"),
            (lambda path: path.mkdir(), "it is not a regular file"),
            (lambda path: os.mkfifo(path, 0o600), "it is not a regular file"),
            (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
            (lambda path: key_file(path, b""), "it has 0 bytes, at least 32 random ones are needed"),
            (lambda path: key_file(path, KEY[:31]), "it has 31 bytes, at least 32 random ones are needed"),
            (lambda path: key_file(path, bytes(MAX_KEY_BYTES + 1)), "it is larger than 65536 bytes"),
            (lambda path: key_file(path, mode=0o640), "others may read or write it: `chmod 600` it"),
            (lambda path: key_file(path, mode=0o604), "others may read or write it: `chmod 600` it"),
            (lambda path: key_file(path, mode=0o602), "others may read or write it: `chmod 600` it"),
        ],
    )
    def test_what_can_not_be_trusted_is_a_problem(
        self, tmp_path: Path, make: Callable[[Path], object], problem: str
    ) -> None:
        """A sentence that names the file; not a crash."""
        path = tmp_path / "key"
        make(path)
        sources = UnlockSources(path, tmp_path, {})
        assert sources.materials() == []
        assert sources.problems() == (f"key file {path} can't be used: {problem}",)
        with pytest.raises(UnlockRefused, match=problem[:20]):
            sources.read_key_file(str(path))

    def test_the_largest_and_the_smallest_are_used(self, tmp_path: Path) -> None:
        """To the byte, whatever they hold."""
        for content in (KEY, bytes(MAX_KEY_BYTES)):
            path = key_file(tmp_path / "key", content)
            assert UnlockSources(path, tmp_path, {}).materials()[0].secret == content

    def test_a_file_of_somebody_else_is_refused(self) -> None:
        """Who owns it may change it at any time."""
        with as_nobody() as directory:
            path = key_file(directory / "key")
            os.chown(path, NOBODY, NOBODY)
            with pytest.raises(UnlockRefused, match=f"it belongs to uid {NOBODY}, not to the daemon's user or root"):
                UnlockSources(None, directory, {}).read_key_file(str(path))

    def test_a_problem_is_gone_once_it_is_mended(self, tmp_path: Path) -> None:
        """The sources are read anew each time."""
        path = key_file(tmp_path / "key", mode=0o644)
        sources = UnlockSources(path, tmp_path, {})
        sources.materials()
        path.chmod(0o600)
        assert len(sources.materials()) == 1
        assert sources.problems() == ()

    def test_a_name_that_can_not_be_shown_is_shown_all_the_same(self, tmp_path: Path) -> None:
        """It becomes the label of a slot, which is printable."""
        path = key_file(tmp_path / "a\nkey")
        assert UnlockSources(path, tmp_path, {}).materials()[0].source == f"key file {tmp_path}/a?key"

    @pytest.mark.parametrize("path", ["", "key", "./key", "/a\0b"])
    def test_a_caller_names_an_absolute_path(self, tmp_path: Path, path: str) -> None:
        """Nothing that depends on where the daemon stands."""
        with pytest.raises(InvalidField, match=r"source\.key_file"):
            UnlockSources(None, tmp_path, {}).read_key_file(path)


class TestACredential:
    """What systemd hands over."""

    def test_a_caller_names_one(self, tmp_path: Path) -> None:
        """Any that the unit has."""
        sources = UnlockSources(None, tmp_path, credentials(tmp_path / "credentials", other=CREDENTIAL))
        found = sources.read_credential("other")
        assert found == Material(SlotKind.SYSTEMD_CREDENTIAL, CREDENTIAL, "systemd credential other")
        assert sources.materials() == []

    @pytest.mark.parametrize("name", ["", ".", "..", "../key", "a/b", "/key", "a..b", "a\0b", "a\nb", "x" * 256])
    def test_a_name_that_leads_elsewhere_is_refused(self, tmp_path: Path, name: str) -> None:
        """Only the unit's own credentials can be named."""
        key_file(tmp_path / "key")
        sources = UnlockSources(None, tmp_path, credentials(tmp_path / "credentials"))
        with pytest.raises(InvalidField, match=r"source\.systemd_credential"):
            sources.read_credential(name)

    def test_one_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """And so is any where there are none at all."""
        with pytest.raises(UnlockRefused, match="systemd credential key can't be used: there is no such file"):
            UnlockSources(None, tmp_path, credentials(tmp_path / "credentials")).read_credential("key")
        with pytest.raises(UnlockRefused, match="LoadCredentialEncrypted="):
            UnlockSources(None, tmp_path, {}).read_credential("key")

    def test_one_that_is_too_short_is_a_problem(self, tmp_path: Path) -> None:
        """It doesn't count as none."""
        sources = UnlockSources(None, tmp_path, credentials(tmp_path / "credentials", vestry__unlock_key=b"short"))
        sources.create_default()
        assert sources.materials() == []
        (problem,) = sources.problems()
        assert problem.startswith("systemd credential vestry.unlock-key can't be used: it has 5 bytes")
