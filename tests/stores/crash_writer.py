"""Commits to a store as fast as it can, and prints each revision with its key once it is acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from vestryd.domain.store import Commit
from vestryd.stores.sqlite import SqliteStore


async def write(store: SqliteStore, name: str) -> None:
    """Write two keys a commit, for ever."""
    for number in count():
        key = f"{os.getpid()}/{name}/{number}"
        revision = await store.commit(Commit(puts={key: key.encode() * 20, f"newest/{name}": key.encode()}))
        os.write(1, f"{revision} {key}\n".encode())


async def main(path: Path) -> None:
    """Run eight writers, and compact often."""
    store = await SqliteStore.open(path, history_revisions=100)
    async with asyncio.TaskGroup() as group:
        for name in "abcdefgh":
            group.create_task(write(store, name))


asyncio.run(main(Path(sys.argv[1])))
