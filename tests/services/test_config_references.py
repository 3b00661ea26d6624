from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from callers import user
from services.daemon import Services, reason_of, sources
from services.secret_calls import CANARY, keeping, put
from vestry.v1 import config_pb2 as pb
from vestry.v1 import secrets_pb2
from vestryd.domain.errors import AuditUnavailable, RecordDamaged, StoreUnavailable, VestryError
from vestryd.domain.identity import Caller
from vestryd.domain.jsonvalue import MAX_DOCUMENT_BYTES
from vestryd.domain.secrets.values import Accessed
from vestryd.services.call import Call, Peer
from vestryd.services.methods import table
from vestryd.services.references import MAX_REFERENCES, resolved

KEY = "namespaces/default/secrets/key"


def reference(path: str = KEY) -> dict[str, str]:
    """Return a reference."""
    return {"$secret": path}


async def config_of(services: Services, **fields: Any) -> Any:
    """Return the value that is read with the values of secrets in it."""
    answer = await services.ask("GetConfig", pb.GetConfigRequest(resolve_secrets=True, **fields))
    return json.loads(answer.value)


def withheld(services_answer: Any) -> str:
    """Return why a reference was left as it is."""
    assert services_answer.keys() == {"$secret", "$withheld"}
    return str(services_answer["$withheld"])


class TestGetConfig:
    """Configuration with the values of secrets in it."""

    async def test_values_take_the_place_of_references(self) -> None:
        """Wherever they stand, for who asks for them; what is stored, and its checksum, is the reference."""
        files = sources(default={"db": {"password": reference()}, "list": [reference(), 1], "n": 1})
        async with keeping(sources=files) as services:
            await put(services, value="passwörd\n".encode())
            plain = await services.ask("GetConfig", pb.GetConfigRequest())
            assert json.loads(plain.value)["db"] == {"password": reference()}
            answer = await services.ask("GetConfig", pb.GetConfigRequest(resolve_secrets=True))
            assert json.loads(answer.value) == {"db": {"password": "passwörd\n"}, "list": ["passwörd\n", 1], "n": 1}
            assert (answer.checksum, answer.version, answer.revision) == (plain.checksum, 1, plain.revision)
            records = [one.action for one in await services.audit.read(after=0, limit=100)]
            assert records.count("secrets.access") == 1

    async def test_only_the_part_that_is_asked_for_is_resolved(self) -> None:
        """Also when that is a reference itself; nothing else is accessed."""
        files = sources(default={"a": reference(), "b": reference("namespaces/default/secrets/none")})
        async with keeping(sources=files) as services:
            await put(services, value=b"v")
            assert await config_of(services, pointer="/a") == "v"
            assert ("user:tester", "secrets.access", "namespaces/default/secrets/none") not in services.door.asked

    async def test_only_the_current_version_is_resolved(self) -> None:
        """By its number, too."""
        async with keeping(sources=sources(default={"a": reference()})) as services:
            await put(services, value=b"v")
            await services.update(b'{"b": 1}')
            assert await config_of(services, version=2) == {"a": "v", "b": 1}
            request = pb.GetConfigRequest(resolve_secrets=True, version=1)
            assert await reason_of(services, "GetConfig", request) == "INVALID_FIELD"

    async def test_who_may_not_access_a_secret_is_not_told_whether_it_is_there(self) -> None:
        """The rest of the document is given."""
        paths = {name: f"namespaces/default/secrets/{name}" for name in ("key", "none")}
        files = sources(default={**{name: reference(path) for name, path in paths.items()}, "n": 1})
        async with keeping(sources=files) as services:
            await put(services)
            services.door.closed |= {("secrets.access", path) for path in paths.values()}
            found = await config_of(services)
            assert withheld(found["key"]) == withheld(found["none"]) == "you may not access it"
            assert (found["key"]["$secret"], found["n"]) == (paths["key"], 1)

    async def test_each_reason_is_told(self) -> None:
        """Of what can't be had."""
        names = ("none", "deleted", "binary", "pending")
        files = sources(default={name: reference(f"namespaces/default/secrets/{name}") for name in names})
        async with keeping(sources=files) as services:
            await put(services, "binary", b"\xff")
            await put(services, "deleted")
            await services.ask("DeleteSecret", secrets_pb2.DeleteSecretRequest(name="deleted"))
            found = await config_of(services)
            assert {name: withheld(found[name]) for name in names} == {
                "none": "there is no such secret",
                "deleted": "there is no such secret",
                "binary": "its value is not text",
                "pending": "there is no such secret",
            }
            await services.kept.vault.seal(services.callers.caller)
            assert withheld((await config_of(services))["none"]) == "the secrets are sealed"

    async def test_no_value_is_in_the_log(self) -> None:
        """However it was asked for."""
        async with keeping(sources=sources(default={"a": reference()})) as services:
            await put(services)
            with capture_logs() as logs:
                assert await config_of(services) == {"a": CANARY.decode()}
            assert CANARY.decode() not in repr(logs)

    async def test_so_many_references_and_no_more(self) -> None:
        """A larger document is read in parts."""
        files = sources(default={"a": [reference()] * MAX_REFERENCES, "b": reference()})
        async with keeping(sources=files) as services:
            await put(services, value=b"v")
            assert await config_of(services, pointer="/a") == ["v"] * MAX_REFERENCES
            request = pb.GetConfigRequest(resolve_secrets=True)
            assert await reason_of(services, "GetConfig", request) == "INVALID_FIELD"

    async def test_the_values_together_have_a_limit(self) -> None:
        """A small document must not make a huge answer."""
        files = sources(default={"a": [reference()] * 17, "b": [reference()] * 16})
        async with keeping(sources=files) as services:
            await put(services, value=b"x" * 65_536)
            assert sum(map(len, await config_of(services, pointer="/b"))) == MAX_DOCUMENT_BYTES
            request = pb.GetConfigRequest(resolve_secrets=True)
            assert await reason_of(services, "GetConfig", request) == "LIMIT_EXCEEDED"


@dataclass
class FakeResolver:
    """Fails as the test says, and counts."""

    error: VestryError
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def resolve(self, caller: Caller, path: str, *, call_id: str = "") -> Accessed:
        self.asked.append((caller.name, path, call_id))
        await asyncio.sleep(0)
        raise self.error


def call() -> Call:
    """Return a call of a user."""
    method = table()["/vestry.v1.ConfigService/GetConfig"]
    return Call(method, Peer(), "call-7", arrival=0, timeout_seconds=1, caller=user("alice"))


class TestWithheld:
    """References that stay."""

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (AuditUnavailable("No space left on device"), "the access can't be recorded in the audit log now"),
            (RecordDamaged("secret", "default/key", 1), "it can't be read now: ask the daemon's administrator"),
            (StoreUnavailable("I/O error"), "it can't be read now: ask the daemon's administrator"),
        ],
    )
    async def test_what_fails_here_is_told_in_few_words(self, error: VestryError, reason: str) -> None:
        """Nothing of the daemon's own troubles; each secret is asked for once, for the caller, under the call's id."""
        resolver = FakeResolver(error)
        found = await resolved({"a": reference(), "b": [reference()]}, resolver, call())
        assert found == {"a": {**reference(), "$withheld": reason}, "b": [{**reference(), "$withheld": reason}]}
        assert resolver.asked == [("user:alice", KEY, "call-7")]

    @pytest.mark.parametrize("path", ["", "key", "namespaces//secrets/key", "namespaces/a/secrets/../b", 7, None])
    async def test_what_only_looks_like_a_reference_is_not_resolved(self, path: object) -> None:
        """Documents from before references were checked may hold it."""
        resolver = FakeResolver(StoreUnavailable("never asked"))
        found = await resolved({"a": {"$secret": path}}, resolver, call())
        assert withheld(found["a"]) == "this is not a reference to a secret"
        assert resolver.asked == []
