"""AccessService: the wire's meaning of who may do what."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from vestry.v1 import access_pb2 as pb
from vestry.v1 import common_pb2 as common
from vestryd.domain.access import KIND, NAME, Access
from vestryd.domain.errors import DocumentInvalid, InvalidField, in_short
from vestryd.domain.jsonvalue import canonical
from vestryd.domain.policies import Policies
from vestryd.domain.store import Store
from vestryd.services import access_messages as messages
from vestryd.services import access_requests as questions
from vestryd.services import document_requests as requests
from vestryd.services.call import Call
from vestryd.services.common_messages import store_revision, timestamp, violations
from vestryd.services.history import page_of
from vestryd.services.methods import Method, actions

MAX_QUESTIONS = 100


class AccessService:
    """Answers AccessService. Lives as long as the daemon serves. `methods` are all that the daemon answers."""

    service = "vestry.v1.AccessService"

    def __init__(self, access: Access, policies: Policies, *, store: Store, methods: Iterable[Method]) -> None:
        methods = tuple(methods)
        self._access = access
        self._policies = policies
        self._store = store
        self._actions = actions(methods)
        self._for_any_caller = actions(one for one in methods if one.is_for_any_caller)

    def who_am_i(self, _request: pb.WhoAmIRequest, call: Call) -> pb.WhoAmIResponse:
        """Tell who the daemon takes the caller for."""
        caller, policy = call.caller, self._access.policy
        return pb.WhoAmIResponse(
            name=caller.name,
            identities=policy.identities(caller),
            groups=policy.groups(caller),
            via=caller.via,
            credential=caller.credential,
            expire_time=timestamp(caller.expires) if caller.expires else None,
        )

    def check_access(self, request: pb.CheckAccessRequest, call: Call) -> pb.CheckAccessResponse:
        """Tell whether the caller may do things."""
        if len(request.questions) > MAX_QUESTIONS:
            raise InvalidField(
                "questions", f"{len(request.questions)} are too many: ask at most {MAX_QUESTIONS} at once"
            )
        return pb.CheckAccessResponse(
            allowed=[self._is_allowed(number, one, call) for number, one in enumerate(request.questions)]
        )

    def explain_access(self, request: pb.ExplainAccessRequest, call: Call) -> pb.ExplainAccessResponse:
        """Tell why somebody may do a thing or may not."""
        caller = questions.subject(request, call.caller)
        action = questions.action("action", request.action, self._actions)
        resource = questions.resource("resource", request.resource, action, self._actions[action])
        if action in self._for_any_caller:
            return pb.ExplainAccessResponse(allowed=True, explanation=f"allowed: every known caller may do {action}")
        found = self._access.explain(caller, action, resource)
        return pb.ExplainAccessResponse(
            allowed=found.decision.is_allowed,
            rule=found.decision.rule,
            explanation=found.sentence,
            nearest_rule=found.nearest,
        )

    def get_policy(
        self, request: pb.GetPolicyRequest, _call: Call
    ) -> pb.GetPolicyResponse | Awaitable[pb.GetPolicyResponse]:
        """Read the policy in force from memory, or another version from the store."""
        document = self._policies.find()
        number = requests.version_number("version", request.version)
        if number and not (document and document.version.number == number):
            return self._get_version(number)
        if document:
            layers = messages.current_layers(document, self._policies.ingestion)
            answer = messages.policy(document.version, layers, self._revision())
        else:
            answer = messages.built_in(self._revision())
        answer.rejection = self._rejection()
        return answer

    async def update_policy(self, request: pb.UpdatePolicyRequest, call: Call) -> pb.UpdatePolicyResponse:
        """Change the runtime layer."""
        write = requests.write(request, call)
        if request.WhichOneof("change") == "merge_patch":
            change = requests.json_object(KIND, NAME, "merge_patch", request.merge_patch)
            outcome = await self._policies.patch(change, write)
        elif request.WhichOneof("change") == "replace":
            change = requests.json_object(KIND, NAME, "replace", request.replace)
            outcome = await self._policies.replace(change, write)
        else:
            raise InvalidField("change", "set merge_patch or replace")
        return pb.UpdatePolicyResponse(
            version=outcome.version,
            changed=outcome.changed,
            patch=canonical(outcome.patch),
            revision=self._revision(outcome.revision),
        )

    def validate_policy(self, request: pb.ValidatePolicyRequest, _call: Call) -> pb.ValidatePolicyResponse:
        """Check a policy without changing anything."""
        layer = requests.layer(request.layer)
        try:
            content = requests.json_object(KIND, NAME, "document", request.document)
            found = self._policies.validate(layer, content)
        except DocumentInvalid as error:
            found = error.violations
        return pb.ValidatePolicyResponse(violations=violations(found))

    async def list_policy_versions(
        self, request: pb.ListPolicyVersionsRequest, _call: Call
    ) -> pb.ListPolicyVersionsResponse:
        """List versions, newest first."""
        document = self._policies.find()
        if document is None:
            return pb.ListPolicyVersionsResponse()
        found, following = await page_of(document, request, self._policies.versions)
        return pb.ListPolicyVersionsResponse(
            versions=[messages.version(version) for version, _ in found], next_page_token=following
        )

    async def diff_policy_versions(
        self, request: pb.DiffPolicyVersionsRequest, _call: Call
    ) -> pb.DiffPolicyVersionsResponse:
        """Tell what changed between two versions."""
        start = requests.version_number("from_version", request.from_version)
        end = requests.version_number("to_version", request.to_version)
        before, after, patch = await self._policies.diff(start, end)
        return pb.DiffPolicyVersionsResponse(
            from_version=before.number, to_version=after.number, patch=canonical(patch)
        )

    async def rollback_policy(self, request: pb.RollbackPolicyRequest, call: Call) -> pb.RollbackPolicyResponse:
        """Go back to an earlier version's layers."""
        outcome = await self._policies.rollback(request.version, requests.write(request, call))
        return pb.RollbackPolicyResponse(
            version=outcome.version,
            changed=outcome.changed,
            patch=canonical(outcome.patch),
            revision=self._revision(outcome.revision),
        )

    async def reload_policy(self, _request: pb.ReloadPolicyRequest, _call: Call) -> pb.ReloadPolicyResponse:
        """Read the policy's files again now."""
        for one in await self._policies.ingestion.reload(NAME):
            found = one.rejection.violations if one.rejection else ()
            return pb.ReloadPolicyResponse(version=one.version, changed=one.changed, violations=violations(found))
        return pb.ReloadPolicyResponse()

    async def _get_version(self, number: int) -> pb.GetPolicyResponse:
        version, _ = await self._policies.version(number)
        return messages.policy(version, messages.layers(version), self._revision())

    def _is_allowed(self, number: int, question: pb.AccessQuestion, call: Call) -> bool:
        action = questions.action(f"questions[{number}].action", question.action, self._actions)
        resource = questions.resource(f"questions[{number}].resource", question.resource, action, self._actions[action])
        return action in self._for_any_caller or self._access.check(call.caller, action, resource).is_allowed

    def _rejection(self) -> str:
        """Return why what is stored can't be in force, else why the files can't; empty when neither is so."""
        for problem in self._access.problems():
            return problem
        rejection = self._policies.ingestion.rejection(NAME)
        return in_short(rejection.violations) if rejection else ""

    def _revision(self, revision: int | None = None) -> common.StoreRevision:
        return store_revision(self._store, self._policies.revision if revision is None else revision)
