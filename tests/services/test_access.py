from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from inspect import isawaitable
from ipaddress import ip_address
from typing import Any

import pytest
from google.protobuf.message import Message

from callers import TESTER, KnownCallers, user
from engine import ACTIONS, FEWER_ACTIONS, Engine, running
from services.daemon import Refused
from vestry.v1 import access_pb2 as pb
from vestry.v1 import common_pb2 as common
from vestryd.domain.identity import Caller
from vestryd.domain.policy.actions import Catalogue
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.domain.store import Store
from vestryd.services.access import AccessService
from vestryd.services.call import Peer
from vestryd.services.methods import table
from vestryd.services.pipeline import Pipeline, bind
from vestryd.stores.memory import MemoryStore

PASSWORD = "namespaces/billing/secrets/db-password"
ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}
BOBS = {"subjects": ["group:billing"], "actions": ["secrets.access"], "resources": ["namespaces/billing/**"]}
POLICY: Any = {
    "users": {"bob": {"identities": ["spiffe://example.org/bob"]}},
    "groups": {"billing": {"members": ["user:bob"]}},
    "rules": {"administrators": ADMINISTRATORS, "billing": BOBS},
}


@dataclass
class Asking:
    """The service behind the pipeline, with the real policy as its guard, and a caller in front."""

    engine: Engine
    pipeline: Pipeline
    callers: KnownCallers

    async def ask(self, method: str, request: Message, *, caller: Caller = TESTER) -> Any:
        """Call a method; raise Refused when it fails."""
        self.callers.caller = caller
        route = self.pipeline.routes[f"/vestry.v1.AccessService/{method}"]
        call = self.pipeline.begin(route, peer=Peer(caller.address), metadata={}, timeout_seconds=None)
        answer = self.pipeline.unary(route, request.SerializeToString(), call)
        reply = await answer if isawaitable(answer) else answer
        if reply.failure:
            raise Refused(reply.failure)
        return route.method.response.FromString(reply.body)

    async def refusal(self, method: str, request: Message, *, caller: Caller = TESTER) -> tuple[str, str]:
        """Return the reason and the message with which a call is refused."""
        with pytest.raises(Refused) as caught:
            await self.ask(method, request, caller=caller)
        return caught.value.reason, caught.value.message

    async def patch(self, patch: Any, **fields: Any) -> pb.UpdatePolicyResponse:
        """Patch the runtime layer."""
        request = pb.UpdatePolicyRequest(merge_patch=json.dumps(patch).encode(), **fields)
        answer: pb.UpdatePolicyResponse = await self.ask("UpdatePolicy", request)
        return answer


@asynccontextmanager
async def serving(
    policy: Any = None, *, store: Store | None = None, known_actions: Catalogue = ACTIONS
) -> AsyncIterator[Asking]:
    """Serve a policy, from a file."""
    async with running(store, known_actions=known_actions) as engine:
        if policy is not None:
            engine.policy_sources.write("policy", default=policy)
        await engine.policies.ingestion.reload()
        methods = {path: one for path, one in table().items() if one.action.startswith("access.")}
        service = AccessService(engine.access, engine.policies, store=engine.store, methods=table().values())
        callers = KnownCallers()
        routes = bind(methods, [service])
        pipeline = Pipeline(routes, authenticator=callers, guard=engine.access, default_deadline_seconds=10)
        yield Asking(engine, pipeline, callers)


def questions(*asked: tuple[str, str]) -> pb.CheckAccessRequest:
    """Return a request that asks (action, resource)."""
    return pb.CheckAccessRequest(questions=[pb.AccessQuestion(action=action, resource=what) for action, what in asked])


CONFIG = ("config.read", "namespaces/billing/config")


class TestQuestions:
    """Who am I, and what may I, and why."""

    async def test_who_am_i_tells_what_policy_and_credential_say(self) -> None:
        """The policy adds names and groups to those of the credential."""
        async with serving(POLICY) as asking:
            caller = replace(
                user("x", "oncall"), identities=frozenset({"spiffe://example.org/bob"}), name="spiffe://example.org/bob"
            )
            answer = await asking.ask("WhoAmI", pb.WhoAmIRequest(), caller=caller)
            assert (answer.name, answer.via, answer.credential) == ("spiffe://example.org/bob", "token", "token x")
            assert list(answer.identities) == ["spiffe://example.org/bob", "user:bob"]
            assert list(answer.groups) == ["billing", "oncall"]
            assert not answer.HasField("expire_time")

    async def test_anybody_known_may_ask_about_itself_and_nobody_else_about_others(self) -> None:
        """What a policy says of others is for those whom it lets see it."""
        async with serving(POLICY) as asking:
            eve = user("eve")
            request = questions(("secrets.access", PASSWORD), ("access.whoami", "access"))
            assert list((await asking.ask("CheckAccess", request, caller=eve)).allowed) == [False, True]
            assert list((await asking.ask("CheckAccess", request, caller=user("bob"))).allowed) == [True, True]
            explain = pb.ExplainAccessRequest(action="secrets.access", resource=PASSWORD)
            assert (await asking.refusal("ExplainAccess", explain, caller=eve))[0] == "PERMISSION_DENIED"

    @pytest.mark.parametrize(
        ("action", "resource", "field"),
        [
            ("secrets.acess", PASSWORD, "questions[1].action: there is no action 'secrets.acess': did you mean"),
            ("", PASSWORD, "questions[1].action"),
            ("secrets.*", PASSWORD, "questions[1].action"),
            ("secrets.access", "", "questions[1].resource: name a resource"),
        ],
    )
    async def test_a_question_about_nothing_is_refused(self, action: str, resource: str, field: str) -> None:
        """The field says which one it is."""
        async with serving(POLICY) as asking:
            request = questions(("secrets.access", PASSWORD), (action, resource))
            reason, message = await asking.refusal("CheckAccess", request)
            assert reason == "INVALID_FIELD"
            assert message.startswith(field)

    async def test_a_hundred_questions_are_answered_and_no_more(self) -> None:
        """One call is not to hold up the others."""
        async with serving(POLICY) as asking:
            assert len((await asking.ask("CheckAccess", questions(*[CONFIG] * 100))).allowed) == 100
            assert (await asking.refusal("CheckAccess", questions(*[CONFIG] * 101)))[0] == "INVALID_FIELD"
            assert (await asking.refusal("CheckAccess", questions(("config.read", "a" * 513))))[0] == "INVALID_FIELD"

    async def test_a_question_that_no_call_asks_is_refused(self) -> None:
        """With what the action is asked of: a mistyped resource must not be answered with a soothing word."""
        async with serving(POLICY) as asking:
            mistyped = questions(("secrets.access", "namespace/billing/secrets/db-password"))
            reason, message = await asking.refusal("CheckAccess", mistyped)
            assert (reason, "but of namespaces/*/secrets/*" in message) == ("INVALID_FIELD", True)

    async def test_explain_tells_about_anybody(self) -> None:
        """By a name, by the groups that a credential would assert, and the rule that decides or comes nearest."""
        async with serving(POLICY) as asking:

            async def explain(**fields: Any) -> tuple[bool, str, str, str]:
                request = pb.ExplainAccessRequest(action="secrets.access", resource=PASSWORD, **fields)
                told = await asking.ask("ExplainAccess", request)
                return told.allowed, told.rule, told.nearest_rule, told.explanation

            assert await explain(identity="user:bob") == (
                True,
                "billing",
                "",
                f"allowed: rule 'billing' allows secrets.access on {PASSWORD} to user:bob (user:bob is in group:billing)",
            )
            assert (await explain(identity="spiffe://example.org/bob"))[:2] == (True, "billing")
            assert (await explain(identity="user:eve", groups=["billing"]))[:2] == (True, "billing")
            *facts, sentence = await explain(identity="user:eve")
            assert facts == [False, "", "billing"]
            assert sentence.endswith("to user:eve; nearest rule 'billing' allows it to group:billing")
            assert (await explain())[:2] == (True, "administrators")

    async def test_explain_takes_an_address_for_rules_with_networks(self) -> None:
        """Without one the question is about the unix socket; the caller's own address is known."""
        rule = {**BOBS, "subjects": ["*"], "conditions": {"networks": ["10.0.0.0/8"]}}
        async with serving({**POLICY, "rules": {"administrators": ADMINISTRATORS, "near": rule}}) as asking:
            eve = {"identity": "user:eve", "action": "secrets.access", "resource": PASSWORD}
            allowed = [
                (await asking.ask("ExplainAccess", pb.ExplainAccessRequest(**eve, address=address))).allowed
                for address in ("", "10.1.2.3", "192.0.2.1")
            ]
            assert allowed == [False, True, False]
            near = replace(TESTER, address=ip_address("10.1.2.3"))
            request = questions(("secrets.access", PASSWORD))
            assert list((await asking.ask("CheckAccess", request, caller=near)).allowed) == [True]

    async def test_explain_knows_what_needs_no_rule(self) -> None:
        """The methods that every known caller may call are not for the policy to decide."""
        async with serving(POLICY) as asking:
            request = pb.ExplainAccessRequest(identity="user:eve", action="access.whoami", resource="access")
            told = await asking.ask("ExplainAccess", request)
            assert (told.allowed, told.explanation) == (True, "allowed: every known caller may do access.whoami")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"identity": "bob"}, "identity: 'bob' names nobody: it has no scheme: write user:, uid:, spiffe://"),
            ({"identity": "user:"}, "identity: 'user:' names nobody"),
            ({"identity": "group:billing"}, "identity: 'group:billing' names nobody"),
            ({"identity": "user:bob", "groups": ["a/b"]}, "groups: 'a/b' names no group"),
            ({"identity": "user:bob", "address": "here"}, "address: 'here' is not an IP address"),
            ({"groups": ["billing"]}, "groups: the caller's own groups are known"),
            ({"action": "config.raed"}, "action: there is no action 'config.raed'"),
            ({"resource": ""}, "resource: name a resource"),
        ],
    )
    async def test_a_question_about_nobody_is_refused(self, fields: dict[str, Any], message: str) -> None:
        """With the field, and what to write."""
        async with serving(POLICY) as asking:
            request = pb.ExplainAccessRequest(**{"action": "config.read", "resource": PASSWORD, **fields})
            reason, told = await asking.refusal("ExplainAccess", request)
            assert reason == "INVALID_FIELD"
            assert told.startswith(message)


class TestReading:
    """The policy in force, and those before it."""

    async def test_the_built_in_policy_is_version_0(self) -> None:
        """It is told as the runtime layer that the first change begins with; it has no history."""
        async with serving() as asking:
            answer = await asking.ask("GetPolicy", pb.GetPolicyRequest())
            assert (answer.version, json.loads(answer.document)) == (0, BUILT_IN)
            assert [(one.layer, one.document) for one in answer.layers] == [(common.LAYER_RUNTIME, answer.document)]
            assert not (await asking.ask("ListPolicyVersions", pb.ListPolicyVersionsRequest())).versions
            for method, request in (
                ("GetPolicy", pb.GetPolicyRequest(version=1)),
                ("DiffPolicyVersions", pb.DiffPolicyVersionsRequest(from_version=1)),
                ("RollbackPolicy", pb.RollbackPolicyRequest(version=1)),
            ):
                assert (await asking.refusal(method, request))[0] == "VERSION_NOT_FOUND"

    async def test_layers_tell_their_files_and_drift(self) -> None:
        """Also a layer that says nothing in force while there is a file that does: after a rollback, for one."""
        async with serving(POLICY) as asking:
            await asking.patch({"roles": {"r": {"actions": ["config.*"]}}})
            asking.engine.policy_sources.write("policy", override={"rules": {"billing": None}})
            await asking.ask("ReloadPolicy", pb.ReloadPolicyRequest())
            await asking.ask("RollbackPolicy", pb.RollbackPolicyRequest(version=2))
            answer = await asking.ask("GetPolicy", pb.GetPolicyRequest())
            assert (answer.version, answer.rejection) == (4, "")
            assert [(one.layer, one.file, bool(one.document), one.drifted) for one in answer.layers] == [
                (common.LAYER_DEFAULT, "/etc/vestry/policy/default.json", True, False),
                (common.LAYER_OVERRIDE, "/etc/vestry/policy/override.json", False, True),
                (common.LAYER_RUNTIME, "", True, False),
            ]
            assert (await asking.ask("GetPolicy", pb.GetPolicyRequest(version=4))).layers == answer.layers
            first = await asking.ask("GetPolicy", pb.GetPolicyRequest(version=1))
            assert (first.version, json.loads(first.document)) == (1, POLICY)

    async def test_a_rejection_is_told(self) -> None:
        """By the policy itself, and by the reload that met it."""
        async with serving(POLICY) as asking:
            asking.engine.policy_sources.write("policy", default={"rules": {}})
            reloaded = await asking.ask("ReloadPolicy", pb.ReloadPolicyRequest())
            assert (reloaded.version, reloaded.changed, reloaded.violations[0].rule) == (1, False, "lockout")
            answer = await asking.ask("GetPolicy", pb.GetPolicyRequest())
            assert (answer.version, json.loads(answer.document)) == (1, POLICY)
            assert "nobody could change this policy" in answer.rejection

    async def test_a_policy_that_is_not_understood_says_so(self) -> None:
        """It is shown as it is stored, and that it is not what is in force."""
        store = MemoryStore()
        async with serving(POLICY, store=store):
            pass
        async with serving(store=store, known_actions=FEWER_ACTIONS) as asking:
            answer = await asking.ask("GetPolicy", pb.GetPolicyRequest())
            assert (answer.version, json.loads(answer.document)) == (1, POLICY)
            assert "can't be used by this release" in answer.rejection

    async def test_history_is_paged(self) -> None:
        """Newest first, with who did what and why."""
        async with serving(POLICY) as asking:
            await asking.patch({"roles": {"r": {"actions": ["config.*"]}}}, message="why")
            first = await asking.ask("ListPolicyVersions", pb.ListPolicyVersionsRequest(page_size=1))
            (newest,) = first.versions
            assert (newest.version, newest.author, newest.message) == (2, "user:tester", "why")
            assert (newest.cause, list(newest.changed_layers)) == (common.CAUSE_UPDATE, [common.LAYER_RUNTIME])
            request = pb.ListPolicyVersionsRequest(page_size=1, page_token=first.next_page_token)
            second = await asking.ask("ListPolicyVersions", request)
            assert ([one.version for one in second.versions], second.next_page_token) == ([1], "")
            diff = await asking.ask("DiffPolicyVersions", pb.DiffPolicyVersionsRequest(from_version=1))
            assert (diff.from_version, diff.to_version) == (1, 2)
            assert [one["path"] for one in json.loads(diff.patch)] == ["/roles"]


class TestWriting:
    """Changes of the runtime layer."""

    async def test_a_change_is_in_force_once_it_is_answered(self) -> None:
        """The caller is its author, and the next call meets it."""
        async with serving(POLICY) as asking:
            read = pb.GetPolicyRequest()
            assert (await asking.refusal("GetPolicy", read, caller=user("bob")))[0] == "PERMISSION_DENIED"
            rule = {"subjects": ["user:bob"], "actions": ["access.read"], "resources": ["access"]}
            answer = await asking.patch({"rules": {"bob": rule}}, request_id="once")
            assert (answer.version, answer.changed) == (2, True)
            assert json.loads(answer.patch) == [{"op": "add", "path": "/rules/bob", "value": rule}]
            assert (await asking.ask("GetPolicy", read, caller=user("bob"))).version == 2
            assert await asking.patch({"rules": {"bob": rule}}, request_id="once") == answer

    async def test_replace_and_dry_run(self) -> None:
        """A dry run answers what would be; to replace the runtime layer by nothing leaves the files."""
        async with serving(POLICY) as asking:
            await asking.patch({"rules": {"billing": None, "x": BOBS}})
            request = pb.UpdatePolicyRequest(replace=b"{}", expected_version=2, dry_run=True)
            assert (await asking.ask("UpdatePolicy", request)).version == 3
            assert (await asking.ask("GetPolicy", pb.GetPolicyRequest())).version == 2
            request.dry_run = False
            await asking.ask("UpdatePolicy", request)
            assert json.loads((await asking.ask("GetPolicy", pb.GetPolicyRequest())).document) == POLICY

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({}, "INVALID_FIELD"),
            ({"merge_patch": b"{"}, "DOCUMENT_INVALID"),
            ({"replace": b"[]"}, "DOCUMENT_INVALID"),
            ({"replace": b'{"rules": {"administrators": null}}'}, "DOCUMENT_INVALID"),
            ({"merge_patch": b"{}", "expected_version": 7}, "VERSION_MISMATCH"),
            ({"merge_patch": b"{}", "message": "x" * 1025}, "INVALID_FIELD"),
        ],
    )
    async def test_a_bad_change_is_refused(self, fields: dict[str, Any], reason: str) -> None:
        """And changes nothing."""
        async with serving(POLICY) as asking:
            assert (await asking.refusal("UpdatePolicy", pb.UpdatePolicyRequest(**fields)))[0] == reason
            assert (await asking.ask("GetPolicy", pb.GetPolicyRequest())).version == 1

    async def test_validate_tells_what_is_wrong_and_changes_nothing(self) -> None:
        """As a layer among the others, or as the whole."""
        async with serving(POLICY) as asking:
            asked = [
                (common.LAYER_UNSPECIFIED, b"{}"),
                (common.LAYER_RUNTIME, b"{}"),
                (common.LAYER_RUNTIME, b"{"),
                (common.LAYER_RUNTIME, b'{"rules": {"billing": {"actions": ["secrets.acess"]}}}'),
            ]
            answers = [
                await asking.ask("ValidatePolicy", pb.ValidatePolicyRequest(layer=layer, document=document))
                for layer, document in asked
            ]
            rules = [[one.rule for one in answer.violations] for answer in answers]
            assert rules == [["lockout"], [], ["syntax"], ["unknown_action"]]
            assert (await asking.ask("GetPolicy", pb.GetPolicyRequest())).version == 1
