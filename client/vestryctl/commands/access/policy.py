"""The daemon's access policy, as the commands that change it see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vestry.v1 import access_pb2, common_pb2
from vestryctl.app import App
from vestryctl.documents import canonical
from vestryctl.layered import State, Terms
from vestryctl.wire import json_value


@dataclass(frozen=True)
class Policy:
    """The access policy, a LayeredDocument. Its version is 0 while the daemon's built-in policy is in force."""

    app: App
    name: str = "the access policy"

    def get(self, version: int = 0) -> access_pb2.GetPolicyResponse:
        """Read the policy in force, or a version, with all that is known of it."""
        request = access_pb2.GetPolicyRequest(version=version)
        return self.app.daemon.call(self.app.daemon.access.GetPolicy, request)

    def read(self, version: int = 0) -> State:
        """Read the policy in force, or that of a version."""
        answer = self.get(version)
        return State(answer.version, json_value(answer.document))

    def runtime_layer(self, version: int) -> Any:
        """Read the runtime layer of a version."""
        layers = {each.layer: each.document for each in self.get(version).layers}
        return json_value(layers.get(common_pb2.LAYER_RUNTIME, b"{}"))

    def patch(self, merge_patch: Any, terms: Terms) -> access_pb2.UpdatePolicyResponse:
        """Merge a patch into the runtime layer."""
        return self._update(access_pb2.UpdatePolicyRequest(merge_patch=canonical(merge_patch)), terms)

    def replace(self, layer: Any, terms: Terms) -> access_pb2.UpdatePolicyResponse:
        """Replace the runtime layer."""
        return self._update(access_pb2.UpdatePolicyRequest(replace=canonical(layer)), terms)

    def roll_back(self, version: int, terms: Terms) -> access_pb2.RollbackPolicyResponse:
        """Take the layers of an earlier version."""
        request = access_pb2.RollbackPolicyRequest(
            version=version, expected_version=terms.expected_version, dry_run=terms.dry_run, message=terms.message
        )
        return self.app.daemon.call(self.app.daemon.access.RollbackPolicy, request)

    def _update(self, change: access_pb2.UpdatePolicyRequest, terms: Terms) -> access_pb2.UpdatePolicyResponse:
        request = access_pb2.UpdatePolicyRequest(
            expected_version=terms.expected_version, dry_run=terms.dry_run, message=terms.message
        )
        request.MergeFrom(change)
        return self.app.daemon.call(self.app.daemon.access.UpdatePolicy, request)
