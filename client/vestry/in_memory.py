"""A ConfigService in this process' memory, for vestry.testing."""

# ruff: noqa: N802 - the proto names the methods

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from google.protobuf import timestamp_pb2

from vestry.errors import ClientClosed, NotFound, Unimplemented, VersionMismatch
from vestry.frozen import is_same, thaw
from vestry.live import LiveConfig
from vestry.snapshot import Snapshot
from vestry.v1 import config_pb2


class InMemoryConfig:
    """Keeps the versions of some namespaces, and answers what a view asks with the methods of the generated stub.

    A namespace has one layer, no schema and no files. Its methods never wait.
    """

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._lives: dict[str, LiveConfig] = {}  # namespace -> what its views show
        self._versions: dict[str, list[Snapshot]] = {}  # namespace -> its versions, oldest first
        self._is_closed = False
        for namespace, document in documents.items():
            self._lives[namespace] = LiveConfig(namespace)
            self._versions[namespace] = []
            self.put(namespace, document)

    def live(self, namespace: str) -> LiveConfig:
        """Return what the views of `namespace` show. Raises NotFound."""
        if namespace not in self._lives:
            raise NotFound(
                f"there is no config {namespace!r}: name it when you make the fake", reason="DOCUMENT_NOT_FOUND"
            )
        return self._lives[namespace]

    def put(self, namespace: str, document: Any, *, cause: str = "update", message: str = "") -> int:
        """Make a new version, show it, and return its number."""
        live = self.live(namespace)
        snapshot = Snapshot(
            namespace=namespace,
            version=len(self._versions[namespace]) + 1,
            document=document,
            checksum=hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest(),
            author="test",
            message=message,
            cause=cause,
            create_time=datetime.now(UTC),
        )
        self._versions[namespace].append(snapshot)
        live.apply(snapshot)
        live.connected()
        return snapshot.version

    def check(self) -> None:
        """Raise ClientClosed after `close`."""
        if self._is_closed:
            raise ClientClosed

    def close(self) -> None:
        """End the waits for changes. Idempotent."""
        self._is_closed = True
        for live in self._lives.values():
            live.end()

    async def UpdateConfig(
        self, request: config_pb2.UpdateConfigRequest, **_options: float
    ) -> config_pb2.UpdateConfigResponse:
        """Merge into the document, or replace it."""
        current = self._expect(request)
        if request.WhichOneof("change") == "replace":
            document = json.loads(request.replace)
        else:
            document = _merge(current.document, json.loads(request.merge_patch))
        version, changed = self._commit(current, document, request, cause="update")
        return config_pb2.UpdateConfigResponse(version=version, changed=changed)

    async def RollbackConfig(
        self, request: config_pb2.RollbackConfigRequest, **_options: float
    ) -> config_pb2.RollbackConfigResponse:
        """Make a new version with an earlier one's document."""
        current = self._expect(request)
        if not 0 < request.version <= current.version:
            raise NotFound(
                f"config {request.namespace!r} has no version {request.version}: 1 to {current.version} are kept",
                reason="VERSION_NOT_FOUND",
            )
        document = self._versions[request.namespace][request.version - 1].document
        version, changed = self._commit(current, document, request, cause="rollback")
        return config_pb2.RollbackConfigResponse(version=version, changed=changed)

    async def ValidateConfig(
        self, request: config_pb2.ValidateConfigRequest, **_options: float
    ) -> config_pb2.ValidateConfigResponse:
        """Find everything valid: there is no schema."""
        return config_pb2.ValidateConfigResponse(valid=True, version=self.live(request.namespace).snapshot.version)

    async def ListConfigVersions(
        self, request: config_pb2.ListConfigVersionsRequest, **_options: float
    ) -> config_pb2.ListConfigVersionsResponse:
        """List all versions on one page, newest first."""
        versions = reversed(self._versions[request.namespace])
        return config_pb2.ListConfigVersionsResponse(
            versions=[
                config_pb2.ConfigVersion(
                    namespace=version.namespace,
                    version=version.version,
                    create_time=_timestamp(version.create_time),
                    author=version.author,
                    message=version.message,
                    checksum=version.checksum,
                )
                for version in versions
            ]
        )

    def __getattr__(self, method: str) -> NoReturn:
        raise Unimplemented(f"a fake client doesn't know {method}: use a vestryd for this test")

    def _expect(self, request: config_pb2.UpdateConfigRequest | config_pb2.RollbackConfigRequest) -> Snapshot:
        """Return what is in force, if it is what the caller believes."""
        current = self.live(request.namespace).snapshot
        if request.HasField("expected_version") and request.expected_version != current.version:
            raise VersionMismatch(
                f"config {request.namespace!r} is at version {current.version}, not {request.expected_version}: "
                "read it again, and decide again",
                reason="VERSION_MISMATCH",
            )
        return current

    def _commit(
        self,
        current: Snapshot,
        document: Any,
        request: config_pb2.UpdateConfigRequest | config_pb2.RollbackConfigRequest,
        *,
        cause: str,
    ) -> tuple[int, bool]:
        """Return the version in force afterwards, and whether it is (or would be) a new one."""
        if is_same(thaw(current.document), thaw(document)):
            return current.version, False
        if request.dry_run:
            return current.version + 1, True
        return self.put(current.namespace, document, cause=cause, message=request.message), True


def _timestamp(time: datetime | None) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    if time is not None:
        timestamp.FromDatetime(time)
    return timestamp


def _merge(target: Any, patch: Any) -> Any:
    """Merge after RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
