from __future__ import annotations

import copy
import functools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.layers import Layer, fold, merge_patch
from vestryd.domain.pointer import leaves, resolve

# Few keys and values, so that layers meet.
PATCHES: st.SearchStrategy[Json] = st.recursive(
    st.sampled_from([None, 1, True, "x", [1], [None], {}]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "/", "~"]), inner, max_size=3),
    max_leaves=8,
)
LAYERS = st.dictionaries(st.sampled_from(Layer), PATCHES)


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_rfc_7396_merge(target: Json, patch: Json, expected: Json) -> None:
    """Appendix A of RFC 7396 holds."""
    assert merge_patch(target, patch) == expected


@given(PATCHES, PATCHES)
def test_merging_changes_neither_argument(target: Json, patch: Json) -> None:
    """What was merged can be merged again."""
    before = copy.deepcopy((target, patch))
    merge_patch(target, patch)
    assert (target, patch) == before


@given(LAYERS)
def test_folding_is_merging_from_an_empty_object_in_the_order_of_layers(layers: dict[Layer, Json]) -> None:
    """The effective document is what merge patches give, whatever order the mapping has."""
    merged: Json = functools.reduce(merge_patch, (layers[layer] for layer in sorted(layers)), {})
    assert canonical(fold(layers).effective) == canonical(merged)


@given(LAYERS.filter(bool))
def test_every_leaf_has_the_layer_that_set_it(layers: dict[Layer, Json]) -> None:
    """Provenance has the pointers of the effective document's leaves, and the layers that the slow model names."""
    folded = fold(layers)
    assert folded.provenance == slow_provenance(layers)
    assert sorted(folded.provenance) == sorted(pointer for pointer, _ in leaves(folded.effective))


def slow_provenance(layers: Mapping[Layer, Json]) -> dict[str, Layer]:
    """Ask of each leaf, layer after layer: was it not there before, or does this layer say the very same of it?"""
    state: Json = {}
    owners = {"": min(layers)}
    for layer in sorted(layers):
        after = merge_patch(state, layers[layer])
        before = {pointer: canonical(value) for pointer, value in leaves(state)}
        is_own = {
            pointer: before.get(pointer) != canonical(value) or says(layers[layer], pointer, value)
            for pointer, value in leaves(after)
        }
        owners = {pointer: layer if own else owners[pointer] for pointer, own in is_own.items()}
        state = after
    return owners


def says(patch: Json, pointer: str, value: Json) -> bool:
    """Tell whether `patch` itself has `value` at `pointer`."""
    try:
        return canonical(resolve(patch, pointer)) == canonical(value)
    except LookupError:
        return False


def test_the_same_value_again_moves_a_leaf_to_the_later_layer() -> None:
    """Who says a thing last owns it, even if it was so already."""
    folded = fold({Layer.OVERRIDE: {"port": 80}, Layer.DEFAULT: {"port": 80, "host": "x"}})
    assert folded.provenance == {"/port": Layer.OVERRIDE, "/host": Layer.DEFAULT}


def test_an_object_that_lost_its_members_belongs_to_the_layer_that_took_them() -> None:
    """An empty object is a leaf, and its emptiness has an author."""
    folded = fold({Layer.DEFAULT: {"a": {"b": 1}}, Layer.RUNTIME: {"a": {"b": None}}})
    assert folded.effective == {"a": {}}
    assert folded.provenance == {"/a": Layer.RUNTIME}


def test_without_layers_nobody_set_anything() -> None:
    """The fold of no layers is an empty object without provenance."""
    folded = fold({})
    assert (folded.effective, folded.provenance) == ({}, {})
