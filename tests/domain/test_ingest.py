from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from engine import Engine, FakeSources, running
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.ingest import Reloaded
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer
from vestryd.domain.sources import SourceFile
from vestryd.domain.store import Commit
from vestryd.domain.versions import Cause
from vestryd.stores.memory import MemoryStore

ME = Write("tester")
SCHEMA = {
    "type": "object",
    "required": ["port"],
    "properties": {
        "port": {"type": "integer"},
        "token": {"type": "string", "writeOnly": True},
        "keys": {"x-secret": True, "properties": {"pin": {"type": "integer", "maximum": 9}}},
    },
}


def sources(**files: Any) -> FakeSources:
    """Return the files of the namespace `default`."""
    made = FakeSources()
    made.write("default", **files)
    return made


def number(engine: Engine) -> int:
    """Return the version in force."""
    return engine.configs.get("default").version.number


class TestTakingIn:
    """A file is taken in when its content differs from what was last taken in."""

    async def test_all_files_make_one_version(self) -> None:
        """It names them, and comes from files."""
        files = sources(schema=SCHEMA, default={"port": 1}, environment={"a": 1}, override={"b": 1})
        async with running(sources=files) as engine:
            (reloaded,) = await engine.ingestion.reload()
            assert reloaded == Reloaded("default", 1, changed=True)
            version = engine.configs.get("default").version
            assert (version.cause, version.author) == (Cause.FILE, "files")
            assert version.message == "schema.json, default.json, environment.json, override.json"
            assert set(version.files) == {Layer.DEFAULT, Layer.ENVIRONMENT, Layer.OVERRIDE}
            files.write("default", default={"port": 2}, override={"b": 2})
            await engine.ingestion.reload()
            assert (number(engine), engine.effective()) == (2, {"port": 2, "a": 1, "b": 2})

    async def test_white_space_is_no_change(self) -> None:
        """Content is compared as canonical JSON."""
        files = sources(default={"a": 1, "b": 2})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            revision = engine.documents.revision
            files.write("default", default=b' {"b": 2,\n "a": 1}\n')
            assert await engine.ingestion.reload() == [Reloaded("default", 1, changed=False)]
            assert engine.documents.revision == revision

    async def test_a_rollback_stays_until_somebody_edits_the_file(self) -> None:
        """The old file doesn't come back; an edited one does, and takes only its own layer along."""
        files = sources(default={"a": 1}, override={"b": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"a": 2}, override={"b": 2})
            await engine.ingestion.reload()
            await engine.configs.rollback("default", 1, ME)
            for _ in range(2):
                await engine.ingestion.reload()
                assert (number(engine), engine.effective()) == (3, {"a": 1, "b": 1})
            files.write("default", override={"b": 3})
            await engine.ingestion.reload()
            assert (number(engine), engine.effective()) == (4, {"a": 1, "b": 3})

    async def test_a_rollback_stays_over_a_restart(self) -> None:
        """What was taken in is remembered by the store, not by the process."""
        store, files = MemoryStore(), sources(default={"a": 1})
        async with running(store, files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"a": 2})
            await engine.ingestion.reload()
            await engine.configs.rollback("default", 1, ME)
        async with running(store, files) as engine:
            await engine.ingestion.reload()
            assert (number(engine), engine.effective()) == (3, {"a": 1})

    async def test_deleting_a_file_removes_its_layer(self) -> None:
        """The message names the file that is gone, and the layer is told as changed."""
        files = sources(default={"a": 1}, override={"a": 2})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", override=None)
            await engine.ingestion.reload()
            version = engine.configs.get("default").version
            assert (engine.effective(), version.message) == ({"a": 1}, "override.json")
            assert (version.changed_layers, set(version.files)) == ((Layer.OVERRIDE,), {Layer.DEFAULT})

    async def test_runtime_changes_outlive_reloads(self) -> None:
        """A file takes the place of its own layer alone."""
        files = sources(default={"a": 1, "b": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            await engine.configs.patch("default", {"a": 5}, ME)
            files.write("default", default={"a": 2, "b": 2})
            await engine.ingestion.reload()
            assert engine.effective() == {"a": 5, "b": 2}

    async def test_another_environment_is_another_layer(self) -> None:
        """A daemon that is started for another environment takes that one's file in, or none."""
        store, files = MemoryStore(), sources(default={"a": 0}, environment={"a": 1, "only": 1})
        async with running(store, files) as engine:
            await engine.ingestion.reload()
        for environment, effective in (({"a": 2}, {"a": 2}), (None, {"a": 0})):
            async with running(store, sources(default={"a": 0}, environment=environment)) as engine:
                await engine.ingestion.reload()
                assert engine.effective() == effective

    async def test_a_new_namespace_appears_with_its_files(self) -> None:
        """At the next reload, by itself."""
        files = sources(default={"a": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("billing", default={"b": 1})
            await engine.ingestion.reload(force=False)
            assert engine.effective("billing") == {"b": 1}

    async def test_without_force_unchanged_files_are_passed_over(self) -> None:
        """The slow poll costs a look at the bytes, and no more."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await engine.ingestion.reload()
            assert await engine.ingestion.reload(force=False) == []
            assert await engine.ingestion.reload(force=True) == [Reloaded("default", 1, changed=False)]


class TestSchemas:
    """A schema is a file like the layers."""

    async def test_a_schema_alone_makes_a_version(self) -> None:
        """The version names it, though nothing else changed."""
        files = sources(default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", schema=SCHEMA)
            await engine.ingestion.reload()
            version = engine.configs.get("default").version
            assert (version.number, version.changed_layers) == (2, ())
            assert version.schema == engine.configs.schema("default").checksum

    async def test_a_schema_can_be_removed(self) -> None:
        """Then everything is allowed; whoever follows the store sees it too."""
        store, files = MemoryStore(), sources(schema=SCHEMA, default={"port": 1})
        async with running(store, files) as engine, running(store, files) as follower:
            await engine.ingestion.reload()
            files.write("default", schema=None, default={"port": "any"})
            await engine.ingestion.reload()
            await follower.documents.until(engine.documents.revision)
            for one in (engine, follower):
                assert one.effective() == {"port": "any"}
                assert one.configs.get("default").schema is None

    async def test_an_earlier_schema_can_come_back(self) -> None:
        """Whoever follows the store finds it."""
        store, files = MemoryStore(), sources(schema=SCHEMA, default={"port": 1})
        async with running(store, files) as engine, running(store) as follower:
            for schema in (SCHEMA, {"type": "object"}, SCHEMA):
                files.write("default", schema=schema)
                await engine.ingestion.reload()
            await follower.documents.until(engine.documents.revision)
            assert follower.configs.schema("default").document == SCHEMA


class UnsteadyStore(MemoryStore):
    """A store whose commits can fail, or hang."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.hang: asyncio.Event | None = None

    async def commit(self, commit: Commit) -> int:
        """Commit, unless told otherwise."""
        if self.is_down:
            raise StoreUnavailable("the disk is full")
        if self.hang:
            await self.hang.wait()
        return await super().commit(commit)


class TestTryingAgain:
    """A reload that could not be finished is not forgotten."""

    async def test_files_are_tried_again_when_the_store_was_down(self) -> None:
        """Also by the next poll, which looks for changed bytes alone."""
        store, files = UnsteadyStore(), sources(default={"a": 1})
        async with running(store, files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"a": 2})
            store.is_down = True
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await engine.ingestion.reload(force=False)
            assert engine.effective() == {"a": 1}
            store.is_down = False
            await engine.ingestion.reload(force=False)
            assert engine.effective() == {"a": 2}

    async def test_files_are_tried_again_when_the_reload_was_cancelled(self) -> None:
        """A caller of ReloadConfig may go away before the change is durable."""
        store, files = UnsteadyStore(), sources(default={"a": 1})
        async with running(store, files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"a": 2})
            store.hang = asyncio.Event()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await engine.ingestion.reload()
            store.hang = None
            await engine.ingestion.reload(force=False)
            assert engine.effective() == {"a": 2}

    async def test_reloads_wait_for_one_another(self) -> None:
        """Two at once make one version."""
        async with running(sources=sources(default={"a": 1})) as engine:
            await asyncio.gather(*(engine.ingestion.reload() for _ in range(5)))
            assert number(engine) == 1


class OddSources(FakeSources):
    """Sources with something in a namespace's place that can't be one."""

    def read(self, namespace: str) -> Mapping[str, SourceFile]:
        """Read a YAML file as well."""
        found = {**super().read(namespace)}
        if namespace == "default":
            found["override"] = SourceFile("/etc/vestry/override.yaml", "yaml", b"a: [1, two]\n")
        return found

    def problems(self) -> tuple[tuple[str, str], ...]:
        """Complain."""
        return (("/etc/vestry/namespaces/Bad", "it can't be a namespace"),)


async def test_a_file_is_read_by_its_format() -> None:
    """The ending decides, slot by slot."""
    async with running(sources=OddSources({"default": {"default": json.dumps({"b": 1}).encode()}})) as engine:
        await engine.ingestion.reload()
        assert engine.effective() == {"a": [1, "two"], "b": 1}


async def test_what_cannot_be_a_namespace_is_told_since_when() -> None:
    """The time is that of the first look at which it was so."""
    async with running(sources=OddSources()) as engine:
        engine.clock.advance(hours=1)
        await engine.ingestion.reload()
        since = engine.clock.now()
        engine.clock.advance(hours=1)
        await engine.ingestion.reload()
        assert engine.ingestion.source_problems == (("/etc/vestry/namespaces/Bad", "it can't be a namespace"),)
        assert engine.ingestion.problems_since == since
