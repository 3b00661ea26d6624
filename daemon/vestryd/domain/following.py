"""How what is in memory follows the store: by its watch, and by reading everything again when a part of that was missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vestryd.domain.errors import Compacted
from vestryd.domain.store import Batch, Store


async def follow(
    store: Store,
    prefix: str,
    *,
    reached: Callable[[], int],
    apply: Callable[[Batch], None],
    start_over: Callable[[], Awaitable[None]],
) -> None:
    """Apply what the store commits below `prefix`, until it is closed or this is cancelled.

    `reached` tells up to which revision everything is applied; `start_over` reads everything as it is now.
    """
    while True:
        try:
            async for batch in store.watch(prefix, after=reached()):
                apply(batch)
        except Compacted:
            await start_over()
        else:
            return
