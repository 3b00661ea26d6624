"""Each test saves the tree in one of the ways in which people and deployers save, and sees that the watcher tells."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from inotify_simple import Event, INotify, flags
from structlog.testing import capture_logs

from vestryd.host import inotify
from vestryd.host.inotify import DEPTH, TreeWatcher, Trigger

EVENTS, POLL = Trigger.EVENTS, Trigger.POLL
DEBOUNCE = 0.02
SILENCE = 0.1  # polls come after that much silence: a POLL right after EVENTS proves that there was one report

Save = Callable[[Path, str], None]


@asynccontextmanager
async def watching(
    root: Path, *, debounce: float = DEBOUNCE, poll: float = SILENCE, max_wait: float = 2.0, use_inotify: bool = True
) -> AsyncIterator[TreeWatcher]:
    """Watch a tree; a report that doesn't come within ten seconds fails the test."""
    watcher = TreeWatcher(
        root, debounce_seconds=debounce, poll_seconds=poll, max_wait_seconds=max_wait, use_inotify=use_inotify
    )
    try:
        async with asyncio.timeout(10):
            yield watcher
    finally:
        watcher.close()


async def reports(watcher: TreeWatcher) -> list[Trigger]:
    """Return what the watcher reports until it has been silent for a while."""
    heard = [await anext(watcher)]
    while heard[-1] is EVENTS:
        heard.append(await anext(watcher))
    return heard


def content(path: Path) -> str:
    """Return what a reader finds in a file, empty when there is none."""
    return path.read_text().strip() if path.exists() else ""


async def seen_while(watcher: TreeWatcher, path: Path, work: Callable[[], None]) -> list[str]:
    """Return what a reader finds in a file at each report, from when `work` starts until it is done and all is silent."""
    working = asyncio.create_task(asyncio.to_thread(work))
    seen: list[str] = []
    trigger, was_done = EVENTS, False
    while not (was_done and trigger is POLL):
        was_done = working.done()
        trigger = await anext(watcher)
        if trigger is EVENTS:
            seen.append(content(path))
    await working
    return seen


def in_place(path: Path, text: str) -> None:
    """Truncate and write, as `>` does."""
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    """Write aside and rename, as most programs do."""
    aside = path.with_suffix(".tmp")
    aside.write_text(text)
    aside.rename(path)


def with_backup(path: Path, text: str) -> None:
    """Rename the old file away and write a new one, as vim and emacs do."""
    path.rename(path.with_name(path.name + "~"))
    path.write_text(text)
    path.with_name(path.name + "~").unlink()


def as_rsync(path: Path, text: str) -> None:
    """Write to a hidden file with no rights, then set rights and times, and rename, as rsync does."""
    aside = path.with_name(f".{path.name}.Xa3b9")
    aside.touch(mode=0o600)
    aside.write_text(text)
    aside.chmod(0o644)
    os.utime(aside, (1, 1))
    aside.rename(path)


def with_rsync(path: Path, text: str) -> None:
    """Let rsync itself copy the file."""
    source = path.parent.parent / "source.json"
    source.write_text(text)
    subprocess.run(["rsync", "--checksum", source, path], check=True)


def with_vim(path: Path, text: str) -> None:
    """Let vim itself replace the text and save with a backup."""
    commands = ["set backup backupcopy=no writebackup", f"call setline(1, '{text}')", "wq"]
    options = [option for command in commands for option in ("-c", command)]
    subprocess.run(["vim", "-N", "-u", "NONE", "-es", *options, path], check=True, stdin=subprocess.DEVNULL)


def by_hard_link(path: Path, text: str) -> None:
    """Delete the file and put a link to another one in its place."""
    aside = path.with_suffix(".new")
    aside.write_text(text)
    path.unlink()
    path.hardlink_to(aside)
    aside.unlink()


def by_deletion(path: Path, text: str) -> None:
    """Delete the file and make a new one with the rights set last."""
    path.unlink()
    path.write_text(text)
    path.chmod(0o640)


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program isn't installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree."""
    root = tmp_path / "config"
    (root / "namespaces" / "payments").mkdir(parents=True)
    for path in (root, root / "namespaces" / "payments"):
        (path / "default.json").write_text("old")
    return root


@pytest.mark.parametrize(
    "save",
    [
        in_place,
        by_rename,
        with_backup,
        as_rsync,
        by_hard_link,
        by_deletion,
        pytest.param(with_rsync, marks=needs("rsync")),
        pytest.param(with_vim, marks=needs("vim")),
    ],
)
@pytest.mark.parametrize("place", ["default.json", "namespaces/payments/default.json"])
async def test_every_way_of_saving_is_reported(save: Save, place: str, root: Path) -> None:
    """After a save comes a report at which the file is whole, and so it is after the next save to the same file."""
    path = root / place
    async with watching(root) as watcher:
        for text in ("new", "newer"):
            seen = await seen_while(watcher, path, partial(save, path, text))
            assert seen[-1] == text


async def test_data_symlink_swap(root: Path) -> None:
    """Kubernetes' swap of `..data` is reported, again and again, and so is a change in the directory that it leads to."""
    path = root / "default.json"
    path.unlink()
    path.symlink_to("..data/default.json")
    (root / "..2026_0").mkdir()
    (root / "..2026_0" / "default.json").write_text("0")
    (root / "..data").symlink_to("..2026_0")
    async with watching(root) as watcher:
        for number in range(1, 4):
            fresh = root / f"..2026_{number}"
            fresh.mkdir()
            (fresh / "default.json").write_text(str(number))
            (root / "..data_tmp").symlink_to(fresh.name)
            (root / "..data_tmp").rename(root / "..data")
            shutil.rmtree(root / f"..2026_{number - 1}")
            assert await reports(watcher) == [EVENTS, POLL]
            assert content(path) == str(number)
        in_place(root / "..2026_3" / "default.json", "edited")
        assert await reports(watcher) == [EVENTS, POLL]


async def test_links_out_of_the_tree(root: Path, tmp_path: Path) -> None:
    """A link is followed to its end: a change of the file that it leads to and of a link on the way are reported."""
    for release in ("1", "2"):
        (tmp_path / "releases" / release).mkdir(parents=True)
        (tmp_path / "releases" / release / "override.json").write_text(release)
    (tmp_path / "current").symlink_to("releases/1")
    (root / "override.json").symlink_to("../current/override.json")
    async with watching(root) as watcher:
        by_rename(tmp_path / "releases" / "1" / "override.json", "edited")
        assert await reports(watcher) == [EVENTS, POLL]
        (tmp_path / "next").symlink_to("releases/2")
        (tmp_path / "next").rename(tmp_path / "current")
        assert await reports(watcher) == [EVENTS, POLL]
        in_place(tmp_path / "releases" / "2" / "override.json", "edited")
        assert await reports(watcher) == [EVENTS, POLL]
        in_place(tmp_path / "releases" / "1" / "override.json", "nobody reads this any more")
        assert await reports(watcher) == [POLL]


@needs("git")
async def test_git_checkout_is_one_report(root: Path) -> None:
    """A checkout that changes several files in several directories, a new one among them, is reported once."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=root.parent, check=True, capture_output=True)

    git("init", "--initial-branch=one")
    git("add", ".")
    git("commit", "--message=one")
    git("checkout", "-b", "two")
    for name in ("schema", "default", "production", "override"):
        (root / f"{name}.json").write_text(name)
    (root / "namespaces" / "accounts").mkdir()
    (root / "namespaces" / "accounts" / "default.json").write_text("new")
    git("add", ".")
    git("commit", "--message=two")
    git("checkout", "one")
    async with watching(root, debounce=0.2, poll=0.4) as watcher:
        for branch, text in (("two", "override"), ("one", "")):
            seen = await seen_while(watcher, root / "override.json", partial(git, "checkout", branch))
            assert seen == [text]


async def test_burst_of_saves(root: Path) -> None:
    """A thousand saves are a few reports, and after the last report the last save is there."""

    def burst() -> None:
        for number in range(1000):
            by_rename(root / "default.json", str(number))

    async with watching(root, max_wait=0.3) as watcher:
        seen = await seen_while(watcher, root / "default.json", burst)
    assert seen[-1] == "999"
    assert len(seen) < 50


async def test_a_stream_of_saves_does_not_put_the_report_off_for_ever(root: Path) -> None:
    """While it never gets quiet, a report still comes after the longest wait."""

    async def save_for_ever() -> None:
        while True:
            in_place(root / "default.json", "x")
            await asyncio.sleep(DEBOUNCE / 10)

    async with watching(root, poll=60, max_wait=0.2) as watcher:
        saving = asyncio.create_task(save_for_ever())
        assert await anext(watcher) is EVENTS
        assert await anext(watcher) is EVENTS
        saving.cancel()


async def test_overflow_of_the_kernels_queue(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel dropped events, that is reported, and directories made meanwhile are watched from then on."""
    limit = int(content(Path("/proc/sys/fs/inotify/max_queued_events")))
    fresh = root / "namespaces" / "fresh"
    seen: list[Event] = []
    async with watching(root) as watcher:
        take = watcher._take

        def take_and_note(events: list[Event]) -> None:
            seen.extend(events)
            take(events)

        monkeypatch.setattr(watcher, "_take", take_and_note)
        for _ in range(limit // 4 + 1):  # four events each, and the watcher has no chance to read them
            (root / "default.json").rename(root / "default.away")
            (root / "default.away").rename(root / "default.json")
        fresh.mkdir()
        assert EVENTS in await reports(watcher)
        assert any(event.mask & flags.Q_OVERFLOW for event in seen)
        (fresh / "default.json").write_text("new")
        assert await reports(watcher) == [EVENTS, POLL]


async def test_deletion_of_a_file(root: Path) -> None:
    """That a file is gone is reported."""
    async with watching(root) as watcher:
        (root / "default.json").unlink()
        assert await reports(watcher) == [EVENTS, POLL]


async def test_change_of_rights(root: Path) -> None:
    """That a file became readable is reported."""
    async with watching(root) as watcher:
        (root / "default.json").chmod(0o600)
        assert await reports(watcher) == [EVENTS, POLL]


async def test_directory_removed_and_made_again(root: Path) -> None:
    """A namespace's directory that goes and comes back is watched again, with what is in it."""
    directory = root / "namespaces" / "payments"
    async with watching(root) as watcher:
        shutil.rmtree(directory)
        assert await reports(watcher) == [EVENTS, POLL]
        directory.mkdir()
        assert await reports(watcher) == [EVENTS, POLL]
        (directory / "default.json").write_text("new")
        assert await reports(watcher) == [EVENTS, POLL]


async def test_tree_that_appears_later(root: Path, tmp_path: Path) -> None:
    """A tree that is missing at first, with its parent, is watched when it appears."""
    late = tmp_path / "a" / "b" / "config"
    async with watching(late) as watcher:
        late.parent.mkdir(parents=True)
        assert await reports(watcher) == [EVENTS, POLL]
        late.mkdir()
        assert await reports(watcher) == [EVENTS, POLL]
        (late / "default.json").write_text("new")
        assert await reports(watcher) == [EVENTS, POLL]


async def test_tree_that_is_replaced(root: Path, tmp_path: Path) -> None:
    """A tree that another one is put in place of is watched; the old one isn't any more."""
    shutil.copytree(root, tmp_path / "next")
    async with watching(root) as watcher:
        shutil.move(root, tmp_path / "before")
        shutil.move(tmp_path / "next", root)
        assert await reports(watcher) == [EVENTS, POLL]
        in_place(root / "default.json", "new")
        assert await reports(watcher) == [EVENTS, POLL]
        in_place(tmp_path / "before" / "default.json", "nobody reads this any more")
        assert await reports(watcher) == [POLL]


async def test_neighbours_are_not_reported(root: Path) -> None:
    """What happens beside the tree is not reported."""
    async with watching(root) as watcher:
        in_place(root.parent / "neighbour.json", "x")
        (root.parent / "config2").mkdir()
        assert await reports(watcher) == [POLL]


async def test_directories_below_the_layout_are_not_watched(root: Path) -> None:
    """Nothing is watched deeper than files are read, nor in hidden directories: a repository there costs nothing."""
    (root / ".git" / "objects").mkdir(parents=True)
    deep = root.joinpath(*"abcd"[: DEPTH + 1])
    deep.mkdir(parents=True)
    async with watching(root) as watcher:
        in_place(root / ".git" / "objects" / "x", "x")
        in_place(deep / "x", "x")
        assert await reports(watcher) == [POLL]


async def test_without_events_there_is_the_poll(root: Path) -> None:
    """On a file system that sends no events, it is time to look whenever the poll says so."""
    async with watching(root, use_inotify=False, poll=0.01) as watcher:
        in_place(root / "default.json", "new")
        assert [await anext(watcher) for _ in range(3)] == [POLL] * 3


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("call", ["__init__", "add_watch"])
async def test_machine_without_watches_left(code: int, call: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has no watches left, one warning says so, and the poll goes on."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(inotify, "INotify", type("ExhaustedINotify", (INotify,), {call: refuse}))
    with capture_logs() as lines:
        async with watching(root, poll=0.01) as watcher:
            assert [await anext(watcher) for _ in range(3)] == [POLL] * 3
    assert [(line["event"], line["error"]) for line in lines] == [("inotify.unavailable", os.strerror(code))]


async def test_cancelled_wait_loses_nothing(root: Path) -> None:
    """A change that was heard is still reported when the wait for quiet was cancelled."""
    async with watching(root, debounce=60, poll=60, max_wait=0.3) as watcher:
        in_place(root / "default.json", "new")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watcher), 0.1)
        assert await anext(watcher) is EVENTS


async def test_change_between_two_waits_is_reported(root: Path) -> None:
    """What happens while the reader is busy is reported when it waits again."""
    async with watching(root, poll=60) as watcher:
        in_place(root / "default.json", "new")
        assert await anext(watcher) is EVENTS
        in_place(root / "default.json", "newer")
        assert await anext(watcher) is EVENTS


async def test_close_ends_the_iteration(root: Path) -> None:
    """Closing ends a wait that is under way and each one after it; closing twice is fine."""
    async with watching(root, poll=60) as watcher:
        waiting = asyncio.create_task(anext(watcher, None))
        await asyncio.sleep(0)
        watcher.close()
        watcher.close()
        assert await waiting is None
        assert [trigger async for trigger in watcher] == []
