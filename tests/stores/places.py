"""Awkward places for a store: a small disk, and a machine on which one isn't root."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def small_disk(place: Path, *, size: str) -> Iterator[Path]:
    """Mount a tmpfs of `size` at `place`. Skips the test where this user may not mount."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill_disk(disk: Path) -> Path:
    """Write a file until the disk is full, and return its path."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\x00" * 4096)
    return ballast


@contextmanager
def ordinary_user() -> Iterator[Path]:
    """Give a directory of an ordinary user, and be that user: root may read and write whatever its mode is."""
    with tempfile.TemporaryDirectory(prefix="vestry-test-") as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
