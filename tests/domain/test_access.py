from __future__ import annotations

from typing import Any

import pytest

from callers import TESTER, user
from engine import FEWER_ACTIONS, Engine, running
from vestryd.domain.errors import (
    CredentialsMissing,
    DocumentInvalid,
    PermissionDenied,
    VersionMismatch,
    VersionNotFound,
)
from vestryd.domain.identity import anonymous
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer
from vestryd.domain.policies import recover
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.stores.memory import MemoryStore

ME = Write("tester")
BOB = user("bob")
PASSWORD = "namespaces/billing/secrets/db-password"
ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}
BOBS = {"subjects": ["user:bob"], "actions": ["secrets.access"], "resources": ["namespaces/billing/**"]}
POLICY = {"rules": {"administrators": ADMINISTRATORS, "bob": BOBS}}


def may(engine: Engine, *questions: Any) -> list[bool]:
    """Return whether callers may access the password of billing."""
    return [engine.access.check(caller, "secrets.access", PASSWORD).is_allowed for caller in questions]


def versions(engine: Engine) -> int:
    """Return the number of the policy's version in force, 0 for the built-in one."""
    document = engine.policies.find()
    return document.version.number if document else 0


class TestTheDoor:
    """Who gets in."""

    async def test_without_a_policy_local_administrators_may_everything_and_nobody_else_anything(self) -> None:
        """The built-in policy is in force while there is no other."""
        async with running() as engine:
            assert may(engine, TESTER, BOB) == [True, False]
            assert versions(engine) == 0

    async def test_who_is_not_known_is_asked_for_credentials(self) -> None:
        """And hears nothing of the policy."""
        async with running() as engine:
            with pytest.raises(CredentialsMissing):
                engine.access.require(anonymous(), "config.read", "namespaces/default/config")

    async def test_a_refusal_is_told_to_who_listens(self) -> None:
        """With the caller, the action and the resource; what is allowed, and what was only asked, is not."""
        async with running() as engine:
            denied: list[tuple[str, str, str]] = []
            engine.access.on_denied = lambda caller, action, resource: denied.append((caller.name, action, resource))
            engine.access.require(TESTER, "secrets.access", PASSWORD)
            engine.access.check(BOB, "secrets.access", PASSWORD)
            with pytest.raises(PermissionDenied, match=r"no rule allows secrets\.access"):
                engine.access.require(BOB, "secrets.access", PASSWORD)
            assert denied == [("user:bob", "secrets.access", PASSWORD)]


class TestFiles:
    """The policy's files are its sources, as those of a namespace are."""

    async def test_a_policy_comes_into_force_from_its_files(self) -> None:
        """Layer over layer: a later one deletes a rule of an earlier one."""
        async with running() as engine:
            engine.policy_sources.write("policy", default=POLICY)
            await engine.policies.ingestion.reload()
            assert may(engine, TESTER, BOB) == [True, True]
            engine.policy_sources.write("policy", override={"rules": {"bob": None}})
            await engine.policies.ingestion.reload()
            assert may(engine, TESTER, BOB) == [True, False]

    @pytest.mark.parametrize(
        ("policy", "rule"),
        [
            (b"{", "syntax"),
            ({"rule": {}}, "additionalProperties"),
            (
                {"rules": {"administrators": ADMINISTRATORS, "b": {**BOBS, "actions": ["secrets.acess"]}}},
                "unknown_action",
            ),
            ({"rules": {"administrators": ADMINISTRATORS, "b": {**BOBS, "resources": ["a//b"]}}}, "pattern"),
            ({"groups": {"a": {"members": ["group:a"]}}, "rules": {"administrators": ADMINISTRATORS}}, "cycle"),
            ({}, "lockout"),
            ({"rules": {"administrators": {**ADMINISTRATORS, "actions": ["config.*"]}}}, "lockout"),
        ],
    )
    async def test_a_bad_policy_never_replaces_a_good_one(self, policy: Any, rule: str) -> None:
        """What was in force stays, and the reasons are told."""
        async with running() as engine:
            engine.policy_sources.write("policy", default=POLICY)
            await engine.policies.ingestion.reload()
            engine.policy_sources.write("policy", default=policy)
            (reloaded,) = await engine.policies.ingestion.reload()
            assert reloaded.rejection
            assert reloaded.rejection.violations[0].rule == rule
            assert versions(engine) == 1
            assert may(engine, TESTER, BOB) == [True, True]

    async def test_a_policy_without_files_is_not_missing_any(self) -> None:
        """One that was made by calls is not refused at each reload because it has no files."""
        async with running() as engine:
            await engine.policies.patch({"rules": {"bob": BOBS}}, ME)
            (reloaded,) = await engine.policies.ingestion.reload()
            assert (reloaded.version, reloaded.rejection) == (1, None)

    async def test_deleted_files_leave_the_policy_in_force(self) -> None:
        """A policy is not deleted by deleting its files: that is more likely a mistake."""
        async with running() as engine:
            engine.policy_sources.write("policy", default=POLICY)
            await engine.policies.ingestion.reload()
            engine.policy_sources.write("policy", default=None)
            (reloaded,) = await engine.policies.ingestion.reload()
            assert reloaded.rejection
            assert may(engine, TESTER, BOB) == [True, True]


class TestChanges:
    """The runtime layer, versions and rollback."""

    async def test_the_first_change_begins_with_the_built_in_policy(self) -> None:
        """So it need not repeat it, and tells no change where there is none."""
        async with running() as engine:
            outcome = await engine.policies.patch({"rules": {"bob": BOBS}}, ME)
            assert (outcome.version, outcome.patch) == (1, [{"op": "add", "path": "/rules/bob", "value": BOBS}])
            assert may(engine, TESTER, BOB) == [True, True]

    async def test_the_first_change_may_be_repeated(self) -> None:
        """With its request_id it gets the same answer, also once another change has been made."""
        async with running() as engine:
            write = Write("tester", request_id="once", fingerprint="f")
            first = await engine.policies.patch({"rules": {"bob": BOBS}}, write)
            await engine.policies.patch({"rules": {"bob": None}}, ME)
            assert await engine.policies.patch({"rules": {"bob": BOBS}}, write) == first

    async def test_a_change_that_would_lock_everybody_out_is_refused(self) -> None:
        """Whether it takes the rule away, or its last member."""
        async with running() as engine:
            patches: list[Any] = [{"rules": None}, {"groups": {"vestry-administrators": {"members": []}}}]
            for patch in patches:
                with pytest.raises(DocumentInvalid, match="nobody could change this policy"):
                    await engine.policies.patch(patch, ME)
            assert versions(engine) == 0

    async def test_a_rollback_brings_a_policy_back(self) -> None:
        """Until a file is edited."""
        async with running() as engine:
            engine.policy_sources.write("policy", default=POLICY)
            await engine.policies.ingestion.reload()
            await engine.policies.patch({"rules": {"bob": {"effect": "deny"}}}, ME)
            assert may(engine, BOB) == [False]
            await engine.policies.rollback(1, ME)
            await engine.policies.ingestion.reload()
            assert may(engine, BOB) == [True]
            before, after, patch = await engine.policies.diff(2, 0)
            assert (before.number, after.number) == (2, 3)
            assert patch == [{"op": "remove", "path": "/rules/bob/effect"}]

    async def test_expectations_hold_also_for_the_first_change(self) -> None:
        """Version 0 is the built-in policy."""
        async with running() as engine:
            await engine.policies.patch({"rules": {"bob": BOBS}}, Write("tester", expected_version=0))
            with pytest.raises(VersionMismatch):
                await engine.policies.replace({}, Write("tester", expected_version=0))

    async def test_the_built_in_policy_has_no_versions(self) -> None:
        """There is nothing to read, compare or go back to."""
        async with running() as engine:
            assert await engine.policies.versions(newest=5, limit=5) == []
            for wanted in (
                engine.policies.version(1),
                engine.policies.diff(1, 2),
                engine.policies.rollback(1, ME),
            ):
                with pytest.raises(VersionNotFound):
                    await wanted

    async def test_a_layer_is_validated_with_the_others(self) -> None:
        """And a violation names the file that it comes from, unless that is the layer in question."""
        async with running() as engine:
            engine.policy_sources.write("policy", default=POLICY, override={"roles": {"r": {"actions": ["config.*"]}}})
            await engine.policies.ingestion.reload()
            assert engine.policies.validate(Layer.RUNTIME, {"rules": {"bob": {"roles": ["r"]}}}) == ()
            (violation,) = engine.policies.validate(Layer.OVERRIDE, {"rules": {"bob": {"actions": ["nothing"]}}})
            assert (violation.rule, violation.file) == ("unknown_action", "")
            assert engine.policies.validate(None, {})[0].rule == "lockout"
            assert versions(engine) == 1


class TestBroken:
    """What another release has stored, and this one can't understand."""

    async def test_the_built_in_policy_stands_in_for_one_that_is_not_understood(self) -> None:
        """Local administrators get in and nobody else, the problem says why, and the next good policy ends it."""
        store = MemoryStore()
        async with running(store) as engine:
            await engine.policies.patch({"rules": {"bob": BOBS}}, ME)
        async with running(store, known_actions=FEWER_ACTIONS) as engine:
            document = engine.policies.find()
            assert document
            assert (document.compiled, document.broken[0].rule) == (None, "unknown_action")
            assert [engine.access.check(caller, "config.read", "x").is_allowed for caller in (TESTER, BOB)] == [
                True,
                False,
            ]
            (problem,) = engine.access.problems()
            assert "version 1 of the policy can't be used by this release" in problem
            assert "secrets.access" in problem
            await engine.policies.patch({"rules": {"bob": {"actions": ["config.read"]}}}, ME)
            assert list(engine.access.problems()) == []
            assert engine.access.check(BOB, "config.read", "namespaces/billing/config").is_allowed

    async def test_it_is_a_change_like_any_other_when_another_instance_makes_it(self) -> None:
        """A newer instance over the same store commits what an older one can't understand: the older one goes on."""
        store = MemoryStore()
        async with running(store) as new, running(store, known_actions=FEWER_ACTIONS) as old:
            await new.policies.patch({"rules": {"bob": BOBS}}, ME)
            await old.documents.until(new.documents.revision)
            assert list(old.access.problems())
            assert old.access.check(TESTER, "config.read", "x").is_allowed


class TestRecovery:
    """The way back in for whoever has the machine."""

    async def test_recovery_puts_the_built_in_policy_in_the_place_of_every_layer(self) -> None:
        """The files do not come back by themselves, only once somebody edits one."""
        async with running() as engine:
            engine.policy_sources.write(
                "policy", default={"rules": {"bob": {**ADMINISTRATORS, "subjects": ["user:bob"]}}}
            )
            await engine.policies.ingestion.reload()
            assert may(engine, TESTER, BOB) == [False, True]
            outcome = await recover(engine.documents, engine.proposals, ME)
            await engine.policies.ingestion.reload()
            assert (outcome.version, outcome.changed, versions(engine)) == (2, True, 2)
            document = engine.policies.find()
            assert document
            assert document.version.layers == {Layer.RUNTIME: BUILT_IN}
            assert may(engine, TESTER, BOB) == [True, False]
            engine.policy_sources.write("policy", default=POLICY)
            await engine.policies.ingestion.reload()
            assert may(engine, TESTER, BOB) == [True, True]

    async def test_recovery_may_be_repeated(self) -> None:
        """The second time there is nothing to do; also where there was no policy."""
        async with running() as engine:
            assert (await recover(engine.documents, engine.proposals, ME)).changed
            assert not (await recover(engine.documents, engine.proposals, ME)).changed

    async def test_recovery_ends_a_policy_that_is_not_understood(self) -> None:
        """It needs nothing of what was in force."""
        store = MemoryStore()
        async with running(store) as engine:
            await engine.policies.patch({"rules": {"bob": BOBS}}, ME)
        async with running(store, known_actions=FEWER_ACTIONS) as engine:
            await recover(engine.documents, engine.proposals, ME)
            assert list(engine.access.problems()) == []
