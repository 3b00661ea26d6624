from __future__ import annotations

from typing import Any

import pytest

from engine import Engine, FakeSources, running
from vestryd.domain.errors import SourceInvalid
from vestryd.domain.ingest import Rejection, Reloaded
from vestryd.domain.layered import Write

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
            files.write("default", default={"text": "x" * 600_000}, override={"more": "x" * 600_000})
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
