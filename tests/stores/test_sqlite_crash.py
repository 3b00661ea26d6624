"""What a killed process leaves of an SQLite store."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import vestryd
from vestryd.stores.sqlite import SqliteStore

KILLS = 10
WRITER = Path(__file__).with_name("crash_writer.py")


def kill_a_writer(path: Path, after_lines: int) -> dict[str, int]:
    """Let a process write until it acknowledged so many commits, kill it; return key -> acknowledged revision."""
    source = str(Path(vestryd.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, WRITER, path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(after_lines)]
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return {key: int(revision) for revision, key in acknowledged}


async def test_killed_store_has_every_acknowledged_commit(path: Path) -> None:
    """However often a writer is killed (SIGKILL), the store opens sound, with each acknowledged commit whole."""
    moments = random.Random(8378)
    acknowledged: dict[str, int] = {}
    for _ in range(KILLS):
        acknowledged |= kill_a_writer(path, moments.randint(1, 1500))
        store = await SqliteStore.open(path)  # with its integrity check, and without the killed process's lock
        snapshot = await store.read("")
        await store.close()
        found = {entry.key: entry for entry in snapshot.entries}
        assert acknowledged.items() <= {key: entry.mod_revision for key, entry in found.items()}.items()
        assert all(entry.value == key.encode() * 20 for key, entry in found.items() if not key.startswith("newest/"))
        revisions = sorted(entry.mod_revision for entry in snapshot.entries if not entry.key.startswith("newest/"))
        assert revisions == [*range(1, snapshot.revision + 1)]
        for entry in snapshot.entries:
            if entry.key.startswith("newest/"):
                assert found[entry.value.decode()].mod_revision == entry.mod_revision
