"""AccessService in memory, faithful as far as a command line can see."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from ctl.fake_config import REVISION, Context
from ctl.fake_documents import LAYERS, Document, Layer, Layers, encode, fold, merge, patch_between
from ctl.fake_errors import abort, abort_field, abort_invalid
from vestry.v1 import access_pb2, access_pb2_grpc, common_pb2

BUILT_IN: Mapping[str, Any] = {"rules": {"administrators": {"actions": ["*"]}}}
FILES = {
    common_pb2.LAYER_DEFAULT: "/etc/vestry/access.json",
    common_pb2.LAYER_OVERRIDE: "/etc/vestry/access.override.json",
}
PAGE_SIZE = 2


@dataclass(kw_only=True)
class FakeAccess(access_pb2_grpc.AccessServiceServicer):
    """Keeps a policy with one rule: it must have a rule `administrators`. `allowed` are (action, resource) for the caller."""

    policy: Document = field(default_factory=lambda: Document("policy"))
    allowed: set[tuple[str, str]] = field(default_factory=set)
    explained: list[access_pb2.ExplainAccessRequest] = field(default_factory=list)
    policy_updates: list[access_pb2.UpdatePolicyRequest] = field(default_factory=list)
    policy_rejection: str = ""

    @property
    def policy_version(self) -> int:
        """The version in force."""
        return len(self.policy.versions)

    def WhoAmI(self, request: access_pb2.WhoAmIRequest, context: Context) -> access_pb2.WhoAmIResponse:
        """Take everybody for the same."""
        return access_pb2.WhoAmIResponse(
            name="user:ci",
            identities=["user:ci", "dns:ci.example.org"],
            groups=["operators"],
            via="token",
            credential="token 17",
        )

    def CheckAccess(self, request: access_pb2.CheckAccessRequest, context: Context) -> access_pb2.CheckAccessResponse:
        """Tell what is allowed."""
        for number, one in enumerate(request.questions):
            if "." not in one.action:
                abort_field(context, f"questions[{number}].action", f"there is no action {one.action!r}")
        return access_pb2.CheckAccessResponse(
            allowed=[(one.action, one.resource) in self.allowed for one in request.questions]
        )

    def ExplainAccess(
        self, request: access_pb2.ExplainAccessRequest, context: Context
    ) -> access_pb2.ExplainAccessResponse:
        """Tell a story."""
        self.explained.append(request)
        return access_pb2.ExplainAccessResponse(
            explanation=f"denied: no rule allows {request.action}", nearest_rule="billing"
        )

    def GetPolicy(self, request: access_pb2.GetPolicyRequest, context: Context) -> access_pb2.GetPolicyResponse:
        """Read a version."""
        number = self._policy_number(request.version, context)
        layers = self._policy_layers(number)
        document = encode(fold(layers))
        return access_pb2.GetPolicyResponse(
            version=number,
            document=document,
            checksum="c" * 64,
            layers=[
                access_pb2.PolicyLayer(
                    layer=layer,
                    document=encode(layers[layer]) if layer in layers else b"",
                    file=FILES.get(layer, ""),
                    drifted=layer in self.policy.drifted,
                )
                for layer in LAYERS
                if layer in layers or layer in self.policy.drifted
            ],
            rejection=self.policy_rejection,
            revision=REVISION,
        )

    def UpdatePolicy(
        self, request: access_pb2.UpdatePolicyRequest, context: Context
    ) -> access_pb2.UpdatePolicyResponse:
        """Change the runtime layer."""
        self.policy_updates.append(request)
        layers = self._policy_layers(self.policy_version)
        if request.WhichOneof("change") == "replace":
            runtime = json.loads(request.replace)
        else:
            runtime = merge(layers.get(common_pb2.LAYER_RUNTIME, {}), json.loads(request.merge_patch))
        cause = common_pb2.CAUSE_UPDATE
        answer = self._commit_policy({**layers, common_pb2.LAYER_RUNTIME: runtime}, request, context, cause=cause)
        version, changed, patch = answer
        return access_pb2.UpdatePolicyResponse(version=version, changed=changed, patch=patch, revision=REVISION)

    def RollbackPolicy(
        self, request: access_pb2.RollbackPolicyRequest, context: Context
    ) -> access_pb2.RollbackPolicyResponse:
        """Take the layers of an earlier version."""
        layers = self._policy_layers(self._policy_number(request.version, context))
        version, changed, patch = self._commit_policy(layers, request, context, cause=common_pb2.CAUSE_ROLLBACK)
        return access_pb2.RollbackPolicyResponse(version=version, changed=changed, patch=patch, revision=REVISION)

    def ValidatePolicy(
        self, request: access_pb2.ValidatePolicyRequest, context: Context
    ) -> access_pb2.ValidatePolicyResponse:
        """Check a policy, as a whole or as a layer."""
        value = json.loads(request.document)
        if request.layer:
            value = fold({**self._policy_layers(self.policy_version), request.layer: value})
        return access_pb2.ValidatePolicyResponse(violations=_violations(value))

    def ListPolicyVersions(
        self, request: access_pb2.ListPolicyVersionsRequest, context: Context
    ) -> access_pb2.ListPolicyVersionsResponse:
        """List versions in pages that are smaller than anybody asks for."""
        newest = int(request.page_token or self.policy_version)
        oldest = max(1, newest - min(PAGE_SIZE, request.page_size) + 1)
        facts = [self.policy.facts(number) for number in range(newest, oldest - 1, -1)]
        return access_pb2.ListPolicyVersionsResponse(
            versions=[
                access_pb2.PolicyVersion(
                    version=one.version,
                    author=one.author,
                    message=one.message,
                    cause=one.cause,
                    create_time=one.create_time,
                    changed_layers=one.changed_layers,
                    rollback_of=one.rollback_of,
                )
                for one in facts
            ],
            next_page_token=str(oldest - 1) if oldest > 1 else "",
        )

    def DiffPolicyVersions(
        self, request: access_pb2.DiffPolicyVersionsRequest, context: Context
    ) -> access_pb2.DiffPolicyVersionsResponse:
        """Compare two versions."""
        start, end = (self._policy_number(number, context) for number in (request.from_version, request.to_version))
        patch = encode(list(patch_between(fold(self._policy_layers(start)), fold(self._policy_layers(end)))))
        return access_pb2.DiffPolicyVersionsResponse(from_version=start, to_version=end, patch=patch)

    def ReloadPolicy(
        self, request: access_pb2.ReloadPolicyRequest, context: Context
    ) -> access_pb2.ReloadPolicyResponse:
        """Say how the files stand."""
        found = _violations({}) if self.policy_rejection else []
        return access_pb2.ReloadPolicyResponse(version=self.policy_version, violations=found)

    def _commit_policy(
        self,
        layers: Layers,
        request: access_pb2.UpdatePolicyRequest | access_pb2.RollbackPolicyRequest,
        context: Context,
        *,
        cause: common_pb2.Cause.ValueType,
    ) -> tuple[int, bool, bytes]:
        current = self.policy_version
        if request.HasField("expected_version") and request.expected_version != current:
            message = f"access 'policy' is at version {current}, not {request.expected_version}"
            abort(context, grpc.StatusCode.ABORTED, "VERSION_MISMATCH", message)
        found = _violations(fold(layers))
        if found:
            abort_invalid(context, "policy", found, kind="access")
        before = self._policy_layers(current)
        patch = encode(list(patch_between(fold(before), fold(layers))))
        if current and dict(layers) == dict(before):
            return current, False, patch
        if not request.dry_run:
            rollback_of = request.version if isinstance(request, access_pb2.RollbackPolicyRequest) else 0
            self.policy.add(layers, cause=cause, author="tester", message=request.message, rollback_of=rollback_of)
        return current + 1, True, patch

    def _policy_layers(self, number: int) -> Mapping[Layer, Any]:
        return self.policy.versions[number - 1].layers if number else {common_pb2.LAYER_RUNTIME: BUILT_IN}

    def _policy_number(self, version: int, context: Context) -> int:
        if version > self.policy_version:
            message = f"access 'policy' has no version {version}: 1 to {self.policy_version} are kept"
            abort(context, grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND", message)
        return version or self.policy_version


def _violations(policy: Any) -> list[common_pb2.Violation]:
    if "administrators" in policy.get("rules", {}):
        return []
    return [common_pb2.Violation(rule="lockout", message="nobody could change this policy any more")]
