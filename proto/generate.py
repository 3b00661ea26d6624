"""Generates client/vestry/v1 from proto/: `python proto/generate.py DIRECTORY`."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]


def generate(target: Path) -> None:
    """Write the messages, the stubs and their types below `target`. Raises RuntimeError when protoc refuses."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    services = [proto for proto in protos if "\nservice " in proto.read_text(encoding="utf-8")]
    well_known = files("grpc_tools") / "_proto"
    beside_python = Path(sys.executable).parent  # also where no virtual environment is active
    plugins = [f"--plugin={name}={beside_python / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    common = ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", *plugins]
    calls = (
        [*common, f"--python_out={target}", f"--mypy_out=quiet:{target}", *map(str, protos)],
        [*common, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}", *map(str, services)],
    )
    for call in calls:
        if protoc.main(call):  # type: ignore[no-untyped-call] # it carries no types
            raise RuntimeError("protoc failed: its words are above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
