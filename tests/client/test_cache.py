"""Copies on disk: what is written, what is read, and what is not."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from client.conftest import POLICY
from client.fake_daemon import FakeDaemon
from client.waiting import eventually
from vestry import AsyncClient, CacheUnusable, NotFound, Unavailable
from vestry.cache import Cache
from vestry.v1 import config_pb2

UPDATE = config_pb2.ConfigUpdate(namespace="default", version=7, document=b'{"kept":true}', checksum="c")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place for a cache, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path) -> Cache:
    """A cache ready for use."""
    cache = Cache(directory, target="unix:/a")
    cache.prepare()
    return cache


def _only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


async def test_a_service_starts_while_the_daemon_is_away(daemon: FakeDaemon, directory: Path) -> None:
    """A new client reads what an earlier one kept, is not live, shows the copy's age, and catches up by itself."""
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=directory, reconnect=POLICY) as first:
        view = await first.config()
        daemon.set("default", {"kept": 2})
        await eventually(lambda: view.version == 2)
    await daemon.kill()
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=directory, reconnect=POLICY) as second:
        view = await second.config()
        assert (view["kept"], view.version, view.is_live) == (2, 2, False)
        assert isinstance(view.error, Unavailable)
        assert 0 <= view.age < 60
        daemon.set("default", {"kept": 3})
        await daemon.start()
        await eventually(lambda: view.is_live and view["kept"] == 3)


async def test_a_hung_daemon_is_as_good_as_none(daemon: FakeDaemon, directory: Path) -> None:
    """A daemon that answers nothing makes a client fall back on its copy when the timeout is over."""
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=directory, reconnect=POLICY) as first:
        await first.config()
    daemon.hang()
    async with AsyncClient(daemon.target, timeout=0.2, cache_dir=directory, reconnect=POLICY) as second:
        assert (await second.config())["name"] == "a"


async def test_the_daemons_word_beats_the_copy(daemon: FakeDaemon, directory: Path) -> None:
    """A daemon that doesn't know the namespace any more is believed."""
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=directory, reconnect=POLICY) as first:
        await first.config()
    daemon.remove("default")
    async with AsyncClient(daemon.target, timeout=5.0, cache_dir=directory, reconnect=POLICY) as second:
        with pytest.raises(NotFound):
            await second.config()


def test_a_copy_comes_back_as_it_was(cache: Cache) -> None:
    """What is saved is loaded, with the time since then; another namespace has none."""
    cache.save(UPDATE)
    copy = cache.load("default")
    assert copy is not None
    assert copy.update == UPDATE
    assert 0 <= copy.age_seconds < 60
    assert cache.load("billing") is None


def test_targets_do_not_share_copies(cache: Cache, directory: Path) -> None:
    """Two daemons' namespaces of the same name are two files."""
    cache.save(UPDATE)
    assert Cache(directory, target="unix:/b").load("default") is None


def test_files_are_private(cache: Cache, directory: Path) -> None:
    """A file has mode 0600 in a directory of mode 0700, whatever the umask, and no other file is left beside it."""
    previous = os.umask(0)
    try:
        cache.save(UPDATE)
        cache.save(UPDATE)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(_only_file(directory).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_can_write_is_ignored(
    cache: Cache, directory: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that somebody else may have changed is not read, and a warning says so."""
    cache.save(UPDATE)
    _only_file(directory).chmod(mode)
    assert cache.load("default") is None
    assert "others can write to it" in caplog.text


def test_a_link_is_ignored(cache: Cache, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A symbolic link is not followed."""
    cache.save(UPDATE)
    path = _only_file(directory)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.load("default") is None
    assert "config.cache_ignored" in caplog.text


def test_a_pipe_is_ignored(cache: Cache, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no regular file is neither read nor waited for."""
    cache.save(UPDATE)
    path = _only_file(directory)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert cache.load("default") is None
    assert "not a regular file" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_strangers_file_is_ignored(cache: Cache, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of another user is not read."""
    cache.save(UPDATE)
    os.chown(_only_file(directory), 12345, -1)
    assert cache.load("default") is None
    assert "another user" in caplog.text


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "garbage"])
def test_a_damaged_file_is_ignored(
    cache: Cache, directory: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not whole is not read, and a warning says so."""
    cache.save(UPDATE)
    path = _only_file(directory)
    content = path.read_bytes()
    path.write_bytes(
        {"flip": content[:-1] + b"!", "cut": content[:-3], "empty": b"", "garbage": os.urandom(200)}[damage]
    )
    assert cache.load("default") is None
    assert "config.cache_ignored" in caplog.text


def test_a_failed_save_keeps_the_old_copy(cache: Cache, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that takes nothing costs a warning, not the copy that is there."""
    cache.save(UPDATE)
    path = _only_file(directory)
    kept = path.read_bytes()
    path.unlink()
    path.mkdir()  # renaming onto it fails, for root as well
    cache.save(UPDATE)
    assert "config.cache_not_saved" in caplog.text
    assert list(directory.iterdir()) == [path]
    path.rmdir()
    path.write_bytes(kept)
    path.chmod(0o600)
    assert cache.load("default") is not None


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_an_unsafe_directory_is_refused(directory: Path, mode: int) -> None:
    """A directory in which others can put files raises CacheUnusable before anything else happens."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(CacheUnusable, match="others can write"):
        AsyncClient("unix:/a", cache_dir=directory)


def test_a_file_is_no_directory(directory: Path) -> None:
    """A path that can't be a directory raises CacheUnusable."""
    directory.write_text("")
    with pytest.raises(CacheUnusable):
        AsyncClient("unix:/a", cache_dir=directory)


def test_a_clock_that_went_back_makes_no_negative_age(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from the future is 0 s old."""
    cache.save(UPDATE)
    copy = cache.load("default")
    assert copy is not None
    monkeypatch.setattr(time, "time", lambda: copy.saved_time - 100)
    assert copy.age_seconds == 0
