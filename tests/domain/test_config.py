from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine, FakeSources, running
from vestryd.domain.config import Configs, Leaf, layer_of
from vestryd.domain.errors import (
    DocumentNotFound,
    InvalidField,
    PointerNotFound,
    RequestIdReused,
    SchemaNotFound,
    StoreUnavailable,
)
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer, fold
from vestryd.domain.pointer import leaves, resolve
from vestryd.domain.store import Commit, Snapshot
from vestryd.stores.memory import MemoryStore

ME = Write("tester")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "/", "~", ""]), inner),
    max_leaves=6,
)
CONTENT = st.dictionaries(st.sampled_from("abc"), JSON)
LAYERS = st.fixed_dictionaries(
    {Layer.DEFAULT: CONTENT},
    optional={Layer.ENVIRONMENT: CONTENT, Layer.OVERRIDE: CONTENT, Layer.RUNTIME: CONTENT.filter(bool)},
)


def sources(**files: Any) -> FakeSources:
    """Return the files of the namespace `default`."""
    made = FakeSources()
    made.write("default", **files)
    return made


class TestExplaining:
    """Who says what about each leaf."""

    @given(LAYERS)
    @settings(deadline=None)
    def test_every_leaf_in_force_has_its_value_and_its_layer(self, layers: dict[Layer, Any]) -> None:
        """A leaf that is not hidden is what readers see; the layer that decided has an opinion or took members away."""
        found = explained(layers)
        folded = fold(layers)
        visible = {leaf.pointer: leaf.value for leaf in found.values() if not leaf.hidden}
        for pointer, value in leaves(folded.effective):
            assert pointer in visible
            assert visible[pointer] == value
            assert found[pointer].layer is folded.provenance[pointer]
        for pointer, value in visible.items():
            assert resolve(folded.effective, pointer) == value

    @given(LAYERS)
    @settings(deadline=None)
    def test_every_leaf_of_every_layer_is_explained(self, layers: dict[Layer, Any]) -> None:
        """Also the hidden ones, with the opinion of whoever has one; empty objects only where no other layer fills them."""
        found = explained(layers)
        effective = fold(layers).effective
        for layer, content in layers.items():
            for pointer, value in leaves(content):
                if pointer in found:
                    assert found[pointer].opinions[layer] == value
                else:  # an empty object, which others have filled
                    assert value == {}
                    assert resolve(effective, pointer)

    @given(LAYERS)
    @settings(deadline=None)
    def test_a_part_is_explained_as_in_the_whole(self, layers: dict[Layer, Any]) -> None:
        """A pointer narrows, and changes nothing."""

        def check(configs: Configs) -> None:
            for leaf in configs.explain("default", ""):
                assert leaf in configs.explain("default", leaf.pointer)

        with_layers(layers, check)

    async def test_a_malformed_pointer_is_told_from_one_that_leads_nowhere(self) -> None:
        """The one is the caller's mistake, the other an answer."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            with pytest.raises(InvalidField):
                engine.configs.explain("default", "a")
            with pytest.raises(PointerNotFound):
                engine.configs.explain("default", "/b")


def explained(layers: Mapping[Layer, Any]) -> dict[str, Leaf]:
    """Return pointer -> leaf, of a document that has these layers."""
    found: dict[str, Leaf] = {}
    with_layers(layers, lambda configs: found.update({one.pointer: one for one in configs.explain("default", "")}))
    return found


def with_layers(layers: Mapping[Layer, Any], check: Callable[[Configs], None]) -> None:
    """Check something about a document that has these layers."""

    async def scenario() -> None:
        files = {layer.name.lower(): content for layer, content in layers.items() if layer is not Layer.RUNTIME}
        async with running(sources=sources(**files)) as engine:
            await engine.ingestion.reload()
            await engine.configs.replace("default", layers.get(Layer.RUNTIME, {}), ME)
            check(engine.configs)

    asyncio.run(scenario())


class TestLayerOf:
    """The layer of a place in the effective document."""

    def test_a_place_in_an_array_has_the_arrays_layer(self) -> None:
        """Arrays are leaves."""
        provenance = fold({Layer.DEFAULT: {"a": [{"b": 1}]}}).provenance
        assert layer_of(provenance, "/a/0/b") is Layer.DEFAULT

    def test_an_object_with_members_has_none(self) -> None:
        """Its leaves have."""
        assert layer_of(fold({Layer.DEFAULT: {"a": {"b": 1}}}).provenance, "/a") is None


class TestWriting:
    """What becomes of the runtime layer."""

    async def test_an_emptied_runtime_layer_is_absent(self) -> None:
        """It says nothing, and is not told as a layer."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            await engine.configs.patch("default", {"a": 2}, ME)
            await engine.configs.patch("default", {"a": None}, ME)
            assert Layer.RUNTIME not in engine.configs.get("default").version.layers

    async def test_a_rollback_restores_every_layer(self) -> None:
        """Files' layers and the runtime layer alike."""
        files = sources(default={"a": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            await engine.configs.patch("default", {"b": 1}, ME)
            files.write("default", default={"a": 2}, override={"c": 1})
            await engine.ingestion.reload()
            await engine.configs.replace("default", {}, ME)
            await engine.configs.rollback("default", 2, ME)
            assert engine.effective() == {"a": 1, "b": 1}

    @pytest.mark.parametrize("number", [0, -1])
    async def test_a_rollback_names_its_version(self, number: int) -> None:
        """The current one is not one to go back to."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            with pytest.raises(InvalidField):
                await engine.configs.rollback("default", number, ME)

    async def test_a_schema_that_is_not_there_is_told(self) -> None:
        """As such."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            with pytest.raises(SchemaNotFound):
                engine.configs.schema("default")


class RacingStore(MemoryStore):
    """A store in which, before each commit of ours, somebody else writes the heads."""

    races = 0
    forgets_requests = False

    async def commit(self, commit: Commit) -> int:
        """Lose the race, if one is on."""
        if self.races:
            self.races -= 1
            heads = await super().read("head/")
            await super().commit(Commit(puts={one.key: one.value for one in heads.entries}))
        return await super().commit(commit)

    async def read(self, prefix: str, **options: Any) -> Snapshot:
        """Read, and find no request when they are forgotten."""
        found = await super().read(prefix, **options)
        return Snapshot(found.revision, ()) if self.forgets_requests and prefix.startswith("request/") else found


class TestRaces:
    """Several writers over one store."""

    async def ready(self, engine: Engine) -> RacingStore:
        """Take the files in, and return the store."""
        await engine.ingestion.reload()
        assert isinstance(engine.store, RacingStore)
        return engine.store

    async def test_a_writer_that_loses_tries_again(self) -> None:
        """The caller doesn't notice."""
        async with running(RacingStore(), sources(default={"a": 1})) as engine:
            store = await self.ready(engine)
            store.races = 5
            assert (await engine.configs.patch("default", {"a": 2}, ME)).version == 2

    async def test_a_writer_that_always_loses_hears_of_it(self) -> None:
        """As of a store that can't be written now: trying again later helps, and nothing was written."""
        async with running(RacingStore(), sources(default={"a": 1})) as engine:
            store = await self.ready(engine)
            store.races = 100
            with pytest.raises(StoreUnavailable):
                await engine.configs.patch("default", {"a": 2}, ME)
            assert engine.effective() == {"a": 1}

    async def test_an_answer_that_is_forgotten_at_the_last_moment_is_a_used_id(self) -> None:
        """The write met the request that was answered; when it looked for the answer, that was gone."""
        async with running(RacingStore(), sources(default={"a": 1})) as engine:
            store = await self.ready(engine)
            write = Write("me", request_id="r", fingerprint="f")
            await engine.configs.patch("default", {"a": 2}, write)
            store.forgets_requests = True
            with pytest.raises(RequestIdReused):
                await engine.configs.patch("default", {"a": 2}, write)

    async def test_no_lock_outlives_its_change(self) -> None:
        """Whatever names are asked for, nothing is kept of them."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            await engine.configs.patch("default", {"a": 2}, ME)
            with pytest.raises(DocumentNotFound):
                await engine.configs.patch("nowhere", {"a": 2}, ME)
            assert len(engine.proposals._locks) == 0


async def test_an_empty_object_that_another_layer_fills_is_not_explained() -> None:
    """What an unset leaves behind in the runtime layer hides nothing, so nothing is said of it."""
    async with running(sources=sources(default={"server": {"port": 1}})) as engine:
        await engine.ingestion.reload()
        await engine.configs.replace("default", {"server": {}}, Write("tester"))
        assert [leaf.pointer for leaf in engine.configs.explain("default", "")] == ["/server/port"]
