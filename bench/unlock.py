"""Unlocking: a slot opened by a passphrase and one by a key, and what the opening adds for each secret that there is."""

from __future__ import annotations

import asyncio
import os
import timeit
from pathlib import Path

from bench.effort import Effort
from bench.report import Row
from bench.vaults import fill, seconds_to_open
from vestryd.domain.sealing.aead import KEY_BYTES
from vestryd.domain.sealing.slots import SlotKind, make_slot, open_slot
from vestryd.host.clock import SystemClock

SECTION = "unlock"
STORE_ID = "the store"


def measure(directory: Path, effort: Effort) -> list[Row]:
    """Measure how long a slot takes to open, and how long all secrets take at a start: each head's MAC is verified."""
    kinds = {"a passphrase (PBKDF2, 600 000)": SlotKind.PASSPHRASE, "a key file": SlotKind.KEY_FILE}
    rows = [Row(SECTION, f"a slot, with {what}", "ms", _milliseconds(kind, effort)) for what, kind in kinds.items()]
    for secrets in (effort.secrets // 10, effort.secrets):
        state = directory / str(secrets)
        state.mkdir()
        asyncio.run(fill(state, secrets))
        opened = [asyncio.run(seconds_to_open(state)) for _ in range(effort.starts)]
        rows.append(Row(SECTION, f"{secrets} secrets, verified at start", "ms", [seconds * 1e3 for seconds in opened]))
    return rows


def _milliseconds(kind: SlotKind, effort: Effort) -> list[float]:
    """Return how long a slot of the kind takes to open, in each round."""
    material = os.urandom(KEY_BYTES).hex().encode()
    slot = make_slot(
        os.urandom(KEY_BYTES), STORE_ID, kind, material, slot_id="00000000", label="", now=SystemClock().now()
    )
    timer = timeit.Timer(lambda: open_slot(slot, STORE_ID, material))
    return [seconds * 1e3 for seconds in timer.repeat(effort.rounds, 1)]
