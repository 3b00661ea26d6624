"""What was measured, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import grpc

from bench.processes import has_etcd

HEADER = ("measured", "unit", "Vestry", "beside it", "took", "ratio", "goal", "verdict")
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row is to reach: bounds of Vestry's own value, or of its ratio to the other."""

    of: str  # "value" or "ratio"
    most: float = float("inf")
    least: float = 0.0

    def __str__(self) -> str:
        bound = f"≥ {self.least:g}" if self.least else f"≤ {self.most:g}"
        return f"ratio {bound}" if self.of == "ratio" else bound


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what Vestry took in each round, and what the other took beside it (None: there is no other)."""

    section: str
    what: str
    unit: str
    vestry: Sequence[float]
    beside: str = ""
    other: Sequence[float] | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Vestry's median over the other's."""
        return median(self.vestry) / median(self.other) if self.other else None

    @property
    def verdict(self) -> str:
        """Tell whether the goal is met; nothing without a goal, or without a ratio where the goal is one."""
        if self.goal is None:
            return ""
        value = median(self.vestry) if self.goal.of == "value" else self.ratio
        if value is None:
            return "not measured"
        return "met" if self.goal.least <= value <= self.goal.most else "missed"

    def as_json(self) -> dict[str, object]:
        """Return everything about the row, each round's value included."""
        return {
            "section": self.section,
            "what": self.what,
            "unit": self.unit,
            "vestry": median(self.vestry),
            "beside": self.beside,
            "other": median(self.other) if self.other else None,
            "ratio": self.ratio,
            "goal": str(self.goal) if self.goal else None,
            "verdict": self.verdict or None,
            "rounds": {"vestry": list(self.vestry), "other": list(self.other or ())},
        }


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table in Markdown, medians over the rounds, that also reads well on a terminal."""
    body = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(HEADER, *body, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(cells, widths) for cells in (HEADER, rule, *body))


def save(rows: Iterable[Row], path: Path) -> None:
    """Write the rows and the facts about the machine as JSON."""
    told = {"time": datetime.now(UTC).isoformat(), "machine": machine(), "rows": [row.as_json() for row in rows]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "sqlite": sqlite3.sqlite_version,
        "etcd": _etcd_version(),
    }


def machine_line() -> str:
    """Return the facts about the machine in one line."""
    return ", ".join(f"{name} {fact}" for name, fact in machine().items())


def _cells(row: Row) -> tuple[str, ...]:
    other = "not installed" if row.other is None and row.beside else NOTHING
    if row.other:
        other = _number(median(row.other))
    ratio = NOTHING if row.ratio is None else _ratio(row.ratio)
    beside = row.beside or NOTHING
    goal = str(row.goal) if row.goal else NOTHING
    what = f"{row.section}: {row.what}"
    return what, row.unit, _number(median(row.vestry)), beside, other, ratio, goal, row.verdict or NOTHING


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"1/{1 / ratio:.0f}"


def _number(value: float) -> str:
    """Return three significant digits, and every digit before the point."""
    digits = max(0, 2 - len(str(int(abs(value)))) + 1)
    return f"{value:,.{digits}f}".replace(",", " ")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _etcd_version() -> str | None:
    if not has_etcd():
        return None
    told = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0].rpartition(" ")[2]
