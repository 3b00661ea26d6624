"""What a process that ends at any step leaves of its audit log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vestryd
from stores.audit_places import opened, verdict_on, write
from vestryd.stores.audit_founding import Step

CRASHER = Path(__file__).with_name("audit_crasher.py")
FOUNDING = {Step.FOUNDING_WRITE, Step.FOUNDING_RENAME}


def crash(directory: Path, step: Step, nth: int) -> list[int]:
    """Let a process record until it ends at a step, and return the sequences that it acknowledged."""
    source = str(Path(vestryd.__file__).parents[1])
    finished = subprocess.run(
        [sys.executable, CRASHER, directory, step, str(nth)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": source},
        timeout=30,
        check=False,
    )
    assert finished.returncode == 9, finished.stderr.decode()
    printed = finished.stdout.decode().splitlines()
    return sorted(int(line) for line in printed if line.isdigit())


@pytest.mark.parametrize("step", [step for step in Step if step not in FOUNDING])
async def test_a_crash_at_any_step_costs_no_acknowledged_record(tmp_path: Path, step: Step) -> None:
    """Wherever the process ends, the log opens, goes on and verifies, and what was acknowledged is in it."""
    directory = tmp_path / "audit"
    acknowledged = crash(directory, step, 1) + crash(directory, step, 7)
    assert len(acknowledged) == len(set(acknowledged))
    await write(directory, 1)
    verdict = verdict_on(directory)
    assert (verdict.problem, verdict.unsealed) == (None, 0)
    assert {*acknowledged} <= {*range(1, verdict.last_sequence)}


@pytest.mark.parametrize("step", sorted(FOUNDING))
async def test_a_log_is_founded_whole_or_not_at_all(tmp_path: Path, step: Step) -> None:
    """A crash while the log is founded leaves none, and the next start founds it."""
    directory = tmp_path / "audit"
    crash(directory, step, 1)
    assert not directory.exists()
    async with opened(directory) as log:
        assert log.last_sequence == 0
    assert verdict_on(directory).is_intact
    assert [path.name for path in tmp_path.iterdir()] == ["audit"]
