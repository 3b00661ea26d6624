"""How much is measured: enough for figures to believe, or enough to see that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """How often and how long. A round is one turn of each of the things that are compared."""

    rounds: int
    round_seconds: float
    publications: int
    saves: int
    starts: int
    secrets: int
    records: int


FULL = Effort(rounds=5, round_seconds=1.0, publications=30, saves=10, starts=5, secrets=100_000, records=200_000)
QUICK = Effort(rounds=2, round_seconds=0.4, publications=5, saves=3, starts=2, secrets=2_000, records=20_000)
