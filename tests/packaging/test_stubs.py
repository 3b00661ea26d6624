"""The generated code is what the protos and the generator make of it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from generate import ROOT, generate

CHECKED_IN = ROOT / "client" / "vestry" / "v1"


def generated_files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir() if "_pb2" in path.name}


def floors() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(requirement.split(">=") for requirement in project["dependencies"])


def test_the_checked_in_stubs_are_fresh(tmp_path: Path) -> None:
    """Generating the stubs again gives what is checked in, byte by byte: run `make proto` when this fails."""
    generate(tmp_path)
    assert generated_files(tmp_path / "vestry" / "v1") == generated_files(CHECKED_IN)


def test_the_floor_of_grpcio_is_the_generators_version() -> None:
    """A generated stub refuses an older grpcio, so the distribution must ask for that version."""
    stubs = (CHECKED_IN / "config_pb2_grpc.py").read_text(encoding="utf-8")
    found = re.search(r"GRPC_GENERATED_VERSION = '(.+)'", stubs)
    assert found
    assert floors()["grpcio"] == found[1] == version("grpcio-tools")


def test_the_floor_of_protobuf_is_the_generators_version() -> None:
    """A generated message refuses an older protobuf, so the distribution must ask for that version."""
    messages = (CHECKED_IN / "config_pb2.py").read_text(encoding="utf-8")
    found = re.search(r"# Protobuf Python Version: (.+)", messages)
    assert found
    assert floors()["protobuf"] == found[1]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "proto" / "vestry" / "v1").iterdir()))
def test_every_proto_has_its_messages(name: str) -> None:
    """No proto is left out of the client."""
    assert (CHECKED_IN / f"{name.removesuffix('.proto')}_pb2.py").exists()
