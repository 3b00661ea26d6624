"""One persist step: a commit, with a place to die on either side of it."""

from __future__ import annotations

from vestryd.domain.failpoints import reach
from vestryd.domain.store import Commit, Store


async def commit_step(store: Store, commit: Commit, name: str) -> int:
    """Commit, and return the revision; the failpoints are `name`.before_commit and `name`.after_commit."""
    reach(f"{name}.before_commit")
    revision = await store.commit(commit)
    reach(f"{name}.after_commit")
    return revision
