"""The layers of a document, and how they are folded into the effective document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Layer(IntEnum):
    """A layer. The numbers are those of the proto's enum, and give the order of folding: a later layer wins."""

    DEFAULT = 1
    ENVIRONMENT = 2
    OVERRIDE = 3
    RUNTIME = 4


@dataclass(frozen=True, slots=True)
class Folded:
    """The effective document. `provenance` maps the pointer of each of its leaves -> the layer that set it."""

    effective: Any
    provenance: Mapping[str, Layer]
