"""A namespace of the daemon, as the commands that change it see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vestry.v1 import common_pb2, config_pb2
from vestryctl.app import App
from vestryctl.documents import canonical
from vestryctl.layered import State, Terms
from vestryctl.wire import json_value


@dataclass(frozen=True)
class Namespace:
    """The configuration of one namespace, a LayeredDocument."""

    app: App
    name: str

    def read(self, version: int = 0) -> State:
        """Read the document in force, or that of a version."""
        request = config_pb2.GetConfigRequest(namespace=self.name, version=version)
        answer = self.app.daemon.call(self.app.daemon.config.GetConfig, request)
        return State(answer.version, json_value(answer.value))

    def version(self, number: int) -> config_pb2.GetConfigVersionResponse:
        """Read a version with all that is known of it; 0 is the current one."""
        request = config_pb2.GetConfigVersionRequest(namespace=self.name, version=number)
        return self.app.daemon.call(self.app.daemon.config.GetConfigVersion, request)

    def runtime_layer(self, version: int) -> Any:
        """Read the runtime layer of a version."""
        layers = {each.layer: each.document for each in self.version(version).layers}
        return json_value(layers.get(common_pb2.LAYER_RUNTIME, b"{}"))

    def patch(self, merge_patch: Any, terms: Terms) -> config_pb2.UpdateConfigResponse:
        """Merge a patch into the runtime layer."""
        return self._update(config_pb2.UpdateConfigRequest(merge_patch=canonical(merge_patch)), terms)

    def replace(self, layer: Any, terms: Terms) -> config_pb2.UpdateConfigResponse:
        """Replace the runtime layer."""
        return self._update(config_pb2.UpdateConfigRequest(replace=canonical(layer)), terms)

    def roll_back(self, version: int, terms: Terms) -> config_pb2.RollbackConfigResponse:
        """Take the layers of an earlier version."""
        request = config_pb2.RollbackConfigRequest(
            namespace=self.name,
            version=version,
            expected_version=terms.expected_version,
            dry_run=terms.dry_run,
            message=terms.message,
        )
        return self.app.daemon.call(self.app.daemon.config.RollbackConfig, request)

    def _update(self, change: config_pb2.UpdateConfigRequest, terms: Terms) -> config_pb2.UpdateConfigResponse:
        request = config_pb2.UpdateConfigRequest(
            namespace=self.name,
            expected_version=terms.expected_version,
            dry_run=terms.dry_run,
            message=terms.message,
        )
        request.MergeFrom(change)
        return self.app.daemon.call(self.app.daemon.config.UpdateConfig, request)
