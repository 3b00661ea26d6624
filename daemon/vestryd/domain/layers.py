"""The layers of a document, and how they are folded into the effective document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from vestryd.domain.jsonvalue import Json
from vestryd.domain.pointer import escape, leaves


class Layer(IntEnum):
    """A layer. The numbers are those of the proto's enum, and give the order of folding: a later layer wins."""

    DEFAULT = 1
    ENVIRONMENT = 2
    OVERRIDE = 3
    RUNTIME = 4


@dataclass(frozen=True, slots=True)
class Folded:
    """The effective document. `provenance` maps the pointer of each of its leaves -> the layer that set it."""

    effective: Json
    provenance: Mapping[str, Layer]


def fold(layers: Mapping[Layer, Json]) -> Folded:
    """Fold `layers` in their order, beginning with {}, and record the layer of each leaf.

    A leaf belongs to the last layer that said it, be it the same value again. An empty object belongs to the layer that
    said `{}` or that took the last member away. Without layers nobody set anything, and the provenance is empty.
    """
    effective: Json = {}
    provenance: dict[str, Layer] = {"": min(layers)} if layers else {}
    for layer in sorted(layers):
        effective = _merge(effective, layers[layer], "", layer, provenance)
    return Folded(effective, provenance)


def merge_patch(target: Json, patch: Json) -> Json:
    """Return `target` changed by `patch` (RFC 7396): null deletes, an object merges, anything else replaces.

    Neither argument is changed; the result shares their parts, so treat all three as immutable.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), change)
    return merged


def _merge(target: Json, patch: Json, at: str, layer: Layer, provenance: dict[str, Layer]) -> Json:
    """Do what `merge_patch` does, and keep `provenance` true for what is at or below the pointer `at`."""
    if not isinstance(patch, dict) or not isinstance(target, dict):
        _forget(target, at, provenance)
        provenance[at] = layer
        return _merge({}, patch, at, layer, provenance) if isinstance(patch, dict) else patch
    merged = dict(target)
    for key, change in patch.items():
        below = f"{at}/{escape(key)}"
        if change is not None:
            merged[key] = _merge(merged.get(key), change, below, layer, provenance)
        elif key in merged:
            _forget(merged.pop(key), below, provenance)
    if merged:
        provenance.pop(at, None)
    elif target or not patch:
        provenance[at] = layer
    return merged


def _forget(value: Json, at: str, provenance: dict[str, Layer]) -> None:
    for pointer, _ in leaves(value, at):
        provenance.pop(pointer, None)
