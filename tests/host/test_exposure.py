from __future__ import annotations

import os
from pathlib import Path

import pytest

from vestryd.host.exposure import exposures


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Return a state directory and a configuration directory, as they should be."""
    state, configuration = tmp_path / "state", tmp_path / "config"
    for directory in (state, configuration):
        directory.mkdir(mode=0o700)
    (configuration / "access.json").touch(mode=0o600)
    return state, configuration


def test_what_is_private_is_no_problem(places: tuple[Path, Path]) -> None:
    """Nor is a configuration that a group edits, nor what isn't there yet."""
    state, configuration = places
    configuration.chmod(0o2775)
    (configuration / "access.json").chmod(0o664)
    assert not [*exposures(state, configuration)]
    assert not [*exposures(state / "missing", configuration / "missing")]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_state_directory_is_for_one_user(places: tuple[Path, Path], mode: int) -> None:
    """Whoever can write there can exchange the store, whatever the mode of its file."""
    places[0].chmod(mode)
    (problem,) = exposures(*places)
    assert problem.startswith("others can write to the state directory")


@pytest.mark.parametrize("name", ["", "access.json", "access.override.yaml"])
def test_nobody_else_writes_the_policy(places: tuple[Path, Path], name: str) -> None:
    """Not its files, nor the directory in which they can be exchanged."""
    path = places[1] / name
    path.touch()
    path.chmod(0o777)
    (problem,) = exposures(*places)
    assert problem.startswith(f"others can write to {path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_owner_who_is_neither_the_daemon_nor_root_is_named(places: tuple[Path, Path]) -> None:
    """An owner can write to what is his, whatever its mode says today."""
    os.chown(places[0], 65534, 0)
    (problem,) = exposures(*places)
    assert problem.startswith("uid 65534 can write")
