"""ConfigService in memory, faithful as far as a command line can see."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ctl.fake_documents import (
    FILES,
    LAYERS,
    SCHEMA,
    Document,
    Layers,
    encode,
    fold,
    leaves,
    merge,
    patch_between,
    violations,
)
from ctl.fake_errors import abort, abort_field, abort_invalid
from vestry.v1 import common_pb2, config_pb2, config_pb2_grpc

Context = grpc.ServicerContext
REVISION = common_pb2.StoreRevision(store_id="5" * 32, incarnation="1" * 32, revision=142)
PAGE_SIZE = 3


@dataclass
class FakeConfig(config_pb2_grpc.ConfigServiceServicer):
    """Keeps documents, and what it was asked."""

    documents: dict[str, Document] = field(default_factory=dict)
    watches: list[config_pb2.WatchConfigRequest] = field(default_factory=list)
    updates: list[config_pb2.UpdateConfigRequest] = field(default_factory=list)
    is_stopping: bool = False

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self._log: list[config_pb2.WatchConfigResponse] = []  # what watchers are told; a token is a place in it

    def put(self, namespace: str, layers: Layers, **facts: Any) -> int:
        """Make a version, and tell watchers."""
        document = self.documents.setdefault(namespace, Document(namespace))
        update = document.add(layers, **facts).update
        self._tell(config_pb2.WatchConfigResponse(update=update))
        return update.version

    def reject(self, namespace: str, *found: common_pb2.Violation) -> None:
        """Refuse the files of a namespace; without violations, find them in order again."""
        document = self.documents[namespace]
        time = Timestamp(seconds=1_790_000_100)
        document.rejection = config_pb2.Rejection(reject_time=time, violations=found) if found else None
        rejected = config_pb2.ConfigRejected(
            namespace=namespace, rejection=document.rejection, version=document.current.update.version
        )
        self._tell(config_pb2.WatchConfigResponse(rejected=rejected))

    def forget_history(self) -> None:
        """Make every token foreign, as a restore does."""
        self._log.clear()

    def GetConfig(self, request: config_pb2.GetConfigRequest, context: Context) -> config_pb2.GetConfigResponse:
        """Read a version, or a part of it."""
        document = self._document(request.namespace, context)
        number = self._number(document, request.version, context)
        version = document.versions[number - 1]
        value = json.loads(version.update.document)
        for token in request.pointer.split("/")[1:]:
            try:
                value = value[int(token) if isinstance(value, list) else token]
            except (LookupError, TypeError, ValueError):
                abort(context, grpc.StatusCode.NOT_FOUND, "POINTER_NOT_FOUND", f"nothing at {request.pointer!r}")
        provenance = [
            config_pb2.LeafProvenance(pointer=pointer, layer=_deciding(version.layers, pointer))
            for pointer, _ in leaves(json.loads(version.update.document))
            if request.include_provenance and pointer.startswith(request.pointer)
        ]
        return config_pb2.GetConfigResponse(
            namespace=document.namespace,
            version=number,
            value=encode(value),
            checksum=version.update.checksum,
            provenance=provenance,
            revision=REVISION,
        )

    def ExplainConfig(
        self, request: config_pb2.ExplainConfigRequest, context: Context
    ) -> config_pb2.ExplainConfigResponse:
        """Tell who says what."""
        document = self._document(request.namespace, context)
        layers = document.current.layers
        opinions: dict[str, list[config_pb2.LayerOpinion]] = {}
        for layer in LAYERS:
            for pointer, value in leaves(layers.get(layer, {})):
                opinion = config_pb2.LayerOpinion(layer=layer, value=encode(value), file=FILES.get(layer, ""))
                opinions.setdefault(pointer, []).append(opinion)
        effective = dict(leaves(document.effective))
        found = [
            config_pb2.LeafExplanation(
                pointer=pointer,
                value=encode(effective[pointer]) if pointer in effective else b"",
                layer=opinions[pointer][-1].layer,
                opinions=opinions[pointer],
            )
            for pointer in sorted(opinions)
            if pointer.startswith(request.pointer)
        ]
        return config_pb2.ExplainConfigResponse(
            namespace=document.namespace, version=document.current.update.version, leaves=found, revision=REVISION
        )

    def WatchConfig(
        self, request: config_pb2.WatchConfigRequest, context: Context
    ) -> Iterator[config_pb2.WatchConfigResponse]:
        """Send the state, or what was missed, and then what happens."""
        self.watches.append(request)
        names = [self._document(name, context).namespace for name in request.namespaces]
        place = len(self._log)
        if request.resume_token:
            place = int(request.resume_token)
            if place > len(self._log):
                abort(context, grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_FOREIGN", "from another store")
        else:
            yield from (config_pb2.WatchConfigResponse(update=self.documents[name].current.update) for name in names)
        yield config_pb2.WatchConfigResponse(resume_token=str(place), bookmark=common_pb2.Bookmark())
        while True:
            with self.changed:
                self.changed.wait_for(lambda at=place: self.is_stopping or len(self._log) > at)  # type: ignore[misc]
                missed = self._log[place:]
            for message in missed:
                place += 1
                if (message.update.namespace or message.rejected.namespace) in names:
                    answer = config_pb2.WatchConfigResponse(resume_token=str(place))
                    answer.MergeFrom(message)
                    yield answer
            if self.is_stopping:
                abort(context, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the daemon is shutting down")

    def UpdateConfig(
        self, request: config_pb2.UpdateConfigRequest, context: Context
    ) -> config_pb2.UpdateConfigResponse:
        """Change the runtime layer."""
        self.updates.append(request)
        document = self._document(request.namespace, context)
        before = document.current.layers.get(common_pb2.LAYER_RUNTIME, {})
        if request.WhichOneof("change") == "replace":
            runtime = json.loads(request.replace)
        else:
            runtime = merge(before, json.loads(request.merge_patch))
        layers = {**document.current.layers, common_pb2.LAYER_RUNTIME: runtime}
        version, changed, patch = self._commit(document, layers, request, context, cause=common_pb2.CAUSE_UPDATE)
        return config_pb2.UpdateConfigResponse(version=version, changed=changed, patch=patch, revision=REVISION)

    def RollbackConfig(
        self, request: config_pb2.RollbackConfigRequest, context: Context
    ) -> config_pb2.RollbackConfigResponse:
        """Take the layers of an earlier version."""
        document = self._document(request.namespace, context)
        layers = document.versions[self._number(document, request.version, context) - 1].layers
        version, changed, patch = self._commit(document, layers, request, context, cause=common_pb2.CAUSE_ROLLBACK)
        return config_pb2.RollbackConfigResponse(version=version, changed=changed, patch=patch, revision=REVISION)

    def ValidateConfig(
        self, request: config_pb2.ValidateConfigRequest, context: Context
    ) -> config_pb2.ValidateConfigResponse:
        """Check a document, as a whole or as a layer."""
        document = self._document(request.namespace, context)
        value = json.loads(request.document)
        if request.layer:
            value = fold({**document.current.layers, request.layer: value})
        found = violations(value)
        return config_pb2.ValidateConfigResponse(
            valid=not found, violations=found, version=document.current.update.version
        )

    def ListConfigVersions(
        self, request: config_pb2.ListConfigVersionsRequest, context: Context
    ) -> config_pb2.ListConfigVersionsResponse:
        """List versions in pages that are smaller than anybody asks for."""
        document = self._document(request.namespace, context)
        newest = int(request.page_token or len(document.versions))
        oldest = max(1, newest - min(PAGE_SIZE, request.page_size) + 1)
        return config_pb2.ListConfigVersionsResponse(
            versions=[document.facts(number) for number in range(newest, oldest - 1, -1)],
            next_page_token=str(oldest - 1) if oldest > 1 else "",
        )

    def GetConfigVersion(
        self, request: config_pb2.GetConfigVersionRequest, context: Context
    ) -> config_pb2.GetConfigVersionResponse:
        """Read a version with its layers."""
        document = self._document(request.namespace, context)
        number = self._number(document, request.version, context)
        version = document.versions[number - 1]
        return config_pb2.GetConfigVersionResponse(
            version=document.facts(number),
            layers=[
                config_pb2.LayerDocument(layer=layer, document=encode(version.layers[layer]), file=FILES.get(layer, ""))
                for layer in LAYERS
                if layer in version.layers
            ],
            document=version.update.document,
        )

    def DiffConfigVersions(
        self, request: config_pb2.DiffConfigVersionsRequest, context: Context
    ) -> config_pb2.DiffConfigVersionsResponse:
        """Compare two versions."""
        document = self._document(request.namespace, context)
        start = self._number(document, request.from_version, context)
        end = self._number(document, request.to_version, context)
        old, new = (json.loads(document.versions[number - 1].update.document) for number in (start, end))
        return config_pb2.DiffConfigVersionsResponse(
            from_version=start, to_version=end, patch=encode(list(patch_between(old, new)))
        )

    def GetConfigSchema(
        self, request: config_pb2.GetConfigSchemaRequest, context: Context
    ) -> config_pb2.GetConfigSchemaResponse:
        """Read the schema."""
        name = self._document(request.namespace, context).namespace
        return config_pb2.GetConfigSchemaResponse(namespace=name, schema=encode(SCHEMA), checksum="c" * 64)

    def ListNamespaces(
        self, request: config_pb2.ListNamespacesRequest, context: Context
    ) -> config_pb2.ListNamespacesResponse:
        """List the namespaces, one to a page."""
        names = sorted(self.documents)
        name = request.page_token or names[0]
        document = self.documents[name]
        following = names[names.index(name) + 1 :]
        summary = config_pb2.NamespaceSummary(
            namespace=name,
            version=document.current.update.version,
            update_time=document.current.update.create_time,
            drifted=bool(document.drifted),
            rejected=document.rejection is not None,
        )
        return config_pb2.ListNamespacesResponse(
            namespaces=[summary], next_page_token=following[0] if following else ""
        )

    def ReloadConfig(
        self, request: config_pb2.ReloadConfigRequest, context: Context
    ) -> config_pb2.ReloadConfigResponse:
        """Say how the files stand."""
        names = [self._document(request.namespace, context).namespace] if request.namespace else sorted(self.documents)
        return config_pb2.ReloadConfigResponse(
            results=[
                config_pb2.ReloadResult(
                    namespace=name,
                    version=self.documents[name].current.update.version,
                    rejection=self.documents[name].rejection,
                )
                for name in names
            ]
        )

    def GetConfigStatus(
        self, request: config_pb2.GetConfigStatusRequest, context: Context
    ) -> config_pb2.GetConfigStatusResponse:
        """Say how a namespace stands to its files."""
        document = self._document(request.namespace, context)
        update = document.current.update
        return config_pb2.GetConfigStatusResponse(
            namespace=document.namespace,
            version=update.version,
            checksum=update.checksum,
            environment="production",
            update_time=update.create_time,
            layers=[
                config_pb2.LayerStatus(
                    layer=layer,
                    file=FILES.get(layer, ""),
                    present=layer in document.current.layers,
                    drifted=layer in document.drifted,
                    ingest_time=update.create_time if layer in FILES else None,
                )
                for layer in LAYERS
            ],
            rejection=document.rejection,
            oldest_version=1,
            revision=REVISION,
        )

    def _commit(
        self,
        document: Document,
        layers: Layers,
        request: config_pb2.UpdateConfigRequest | config_pb2.RollbackConfigRequest,
        context: Context,
        *,
        cause: common_pb2.Cause.ValueType,
    ) -> tuple[int, bool, bytes]:
        current = document.current.update.version
        if request.HasField("expected_version") and request.expected_version != current:
            message = f"config {document.namespace!r} is at version {current}, not {request.expected_version}"
            abort(context, grpc.StatusCode.ABORTED, "VERSION_MISMATCH", message)
        found = violations(fold(layers))
        if found:
            abort_invalid(context, document.namespace, found)
        patch = encode(list(patch_between(document.effective, fold(layers))))
        if encode({str(k): v for k, v in layers.items()}) == encode(
            {str(k): v for k, v in document.current.layers.items()}
        ):
            return current, False, patch
        if request.dry_run:
            return current + 1, True, patch
        rollback_of = request.version if isinstance(request, config_pb2.RollbackConfigRequest) else 0
        facts = {"cause": cause, "author": "tester", "message": request.message, "rollback_of": rollback_of}
        return self.put(document.namespace, layers, **facts), True, patch

    def _document(self, namespace: str, context: Context) -> Document:
        name = namespace or "default"
        if name != name.lower():
            abort_field(context, "namespace", f"{name!r} can't be used")
        if name not in self.documents:
            abort(context, grpc.StatusCode.NOT_FOUND, "DOCUMENT_NOT_FOUND", f"there is no config {name!r}")
        return self.documents[name]

    def _number(self, document: Document, version: int, context: Context) -> int:
        newest = len(document.versions)
        if version > newest:
            message = f"config {document.namespace!r} has no version {version}: 1 to {newest} are kept"
            abort(context, grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND", message)
        return version or newest

    def _tell(self, message: config_pb2.WatchConfigResponse) -> None:
        with self.changed:
            self._log.append(message)
            self.changed.notify_all()


def _deciding(layers: Layers, pointer: str) -> common_pb2.Layer.ValueType:
    """Return the last layer that says anything at a pointer."""
    return max(layer for layer, document in layers.items() if pointer in dict(leaves(document)))
