from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from engine import Engine, FakeSources, running

from vestryd.domain.config import Write
from vestryd.domain.errors import SourceInvalid, StoreUnavailable
from vestryd.domain.ingest import Rejection, Reloaded
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


def listen(engine: Engine) -> tuple[list[Rejection], list[Reloaded]]:
    """Return the lists of what is told from now on."""
    rejected: list[Rejection] = []
    reloaded: list[Reloaded] = []
    engine.ingestion.on_rejected = lambda _name, rejection: rejected.append(rejection)
    engine.ingestion.on_reloaded = reloaded.append
    return rejected, reloaded


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


class TestRejections:
    """Files that can't be used change nothing."""

    @pytest.mark.parametrize(
        ("content", "rule"),
        [(b"{", "syntax"), (b"", "syntax"), (b"\xff", "encoding"), (b"[]", "type"), ({"port": "x"}, "type")],
    )
    async def test_what_was_in_force_stays(self, content: Any, rule: str) -> None:
        """The rejection names the file and the rule."""
        files = sources(schema=SCHEMA, default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default=content)
            (reloaded,) = await engine.ingestion.reload()
            assert (reloaded.version, reloaded.changed, engine.effective()) == (1, False, {"port": 1})
            assert reloaded.rejection is engine.ingestion.rejection("default")
            assert reloaded.rejection is not None
            (violation,) = reloaded.rejection.violations
            assert (violation.file, violation.rule) == ("/etc/vestry/default/default.json", rule)

    async def test_one_bad_file_holds_the_others_back(self) -> None:
        """All files of a namespace are one change; every bad file is told."""
        files = sources(default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"port": 2}, environment=b"{", override=b"[")
            (reloaded,) = await engine.ingestion.reload()
            assert engine.effective() == {"port": 1}
            assert reloaded.rejection is not None
            assert len(reloaded.rejection.violations) == 2

    async def test_one_bad_namespace_holds_no_other_back(self) -> None:
        """Each is a document of its own."""
        files = sources(default={"a": 1})
        files.write("a", default=b"{")
        files.write("z", default={"a": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            assert [one.name for one in engine.configs.all()] == ["default", "z"]

    async def test_the_same_rejection_is_told_once(self) -> None:
        """New reasons are told again."""
        files = sources(default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            rejected, _ = listen(engine)
            files.write("default", default=b"{")
            for _ in range(3):
                await engine.ingestion.reload()
            assert len(rejected) == 1
            files.write("default", default=b"[")
            await engine.ingestion.reload()
            assert len(rejected) == 2

    @pytest.mark.parametrize(("content", "version"), [({"port": 2}, 2), ({"port": 1}, 1)], ids=["mended", "reverted"])
    async def test_a_rejection_ends_when_the_files_are_in_order(self, content: Any, version: int) -> None:
        """That is told, also when they are what they were before and no version is made."""
        files = sources(schema=SCHEMA, default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"port": "x"})
            await engine.ingestion.reload()
            _, reloaded = listen(engine)
            files.write("default", default=content)
            await engine.ingestion.reload(force=False)
            assert reloaded == [Reloaded("default", version, changed=version == 2, ended_rejection=True)]
            assert engine.ingestion.rejections() == {}

    async def test_every_file_gone_keeps_what_is_in_force(self) -> None:
        """An empty directory is more likely a mistake than a wish, and is told as one."""
        files = sources(default={"a": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default=None)
            (reloaded,) = await engine.ingestion.reload()
            assert engine.effective() == {"a": 1}
            assert reloaded.rejection is not None
            (violation,) = reloaded.rejection.violations
            assert (violation.rule, violation.file) == ("source", "/etc/vestry/default")

    async def test_a_file_that_cannot_be_read_is_not_a_deleted_one(self) -> None:
        """Its layer stays, and why is told."""
        files = sources(default={"a": 1}, override={"a": 2})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.unreadable["default", "override"] = "can't be read: permission denied"
            (reloaded,) = await engine.ingestion.reload()
            assert engine.effective() == {"a": 2}
            assert reloaded.rejection is not None
            assert [one.message for one in reloaded.rejection.violations] == ["can't be read: permission denied"]

    async def test_a_first_start_with_bad_files_serves_nothing(self) -> None:
        """There is no document until they are mended; the status tells why."""
        files = sources(schema=SCHEMA, default={})
        async with running(sources=files) as engine:
            (reloaded,) = await engine.ingestion.reload()
            assert (reloaded.version, engine.configs.all()) == (0, [])
            assert [one.rule for one in engine.ingestion.rejections()["default"].violations] == ["required"]
            files.write("default", default={"port": 1})
            await engine.ingestion.reload()
            assert number(engine) == 1

    async def test_a_namespace_that_never_was_can_go_again(self) -> None:
        """Files that were rejected and are no more are nobody's problem, and that is told."""
        files = sources(default={"a": 1})
        files.write("billing", default=b"{")
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            assert set(engine.ingestion.rejections()) == {"billing"}
            _, reloaded = listen(engine)
            del files.files["billing"]
            await engine.ingestion.reload(force=False)
            assert engine.ingestion.rejections() == {}
            assert reloaded == [Reloaded("billing", 0, changed=False, ended_rejection=True)]

    async def test_files_can_become_valid_by_a_change_elsewhere(self) -> None:
        """The runtime layer may mend what they lack; the next reload takes them in, changed or not."""
        files = sources(schema=SCHEMA, default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"name": "x"})
            await engine.ingestion.reload()
            assert engine.ingestion.rejection("default")
            await engine.configs.patch("default", {"port": 2}, ME)
            await engine.ingestion.reload(force=False)
            assert engine.ingestion.rejection("default") is None
            assert engine.effective() == {"name": "x", "port": 2}

    async def test_a_document_over_the_limit_is_rejected(self) -> None:
        """It is too large with all its layers, though each file is small enough."""
        files = sources(default={"a": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default={"text": "x" * 600_000})
            (reloaded,) = await engine.ingestion.reload()
            assert reloaded.rejection is not None
            assert [one.rule for one in reloaded.rejection.violations] == ["size"]
            assert engine.effective() == {"a": 1}

    @pytest.mark.parametrize(
        "content",
        [{"port": 1, "token": 314159}, {"port": 1, "keys": {"pin": 314159}}, {"port": 1, "keys": {"pin": "314159"}}],
    )
    async def test_a_rejection_holds_no_secret(self, content: dict[str, Any]) -> None:
        """Neither marked `writeOnly` nor `x-secret`, nor inside of such."""
        files = sources(schema=SCHEMA, default={"port": 1})
        async with running(sources=files) as engine:
            await engine.ingestion.reload()
            files.write("default", default=content)
            (reloaded,) = await engine.ingestion.reload()
            assert reloaded.rejection is not None
            assert "314159" not in repr(reloaded)
            assert "314159" not in str(SourceInvalid(reloaded.rejection.violations))


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
