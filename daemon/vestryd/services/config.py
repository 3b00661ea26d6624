"""ConfigService: the wire's meaning of configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping
from functools import partial

from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.config import KIND, Configs, layer_of
from vestryd.domain.documents import Document
from vestryd.domain.errors import (
    DocumentInvalid,
    DocumentNotFound,
    InvalidField,
    PointerNotFound,
)
from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.layers import Layer
from vestryd.domain.names import check_namespace
from vestryd.domain.pointer import leaves, resolve, split
from vestryd.domain.store import Store
from vestryd.domain.versions import Slot
from vestryd.services import config_messages as messages
from vestryd.services import document_requests as requests
from vestryd.services.call import Call
from vestryd.services.common_messages import layer_number, store_revision, timestamp, violations
from vestryd.services.common_requests import watched_namespaces
from vestryd.services.feed import Feed
from vestryd.services.history import page_of
from vestryd.services.paging import page_size, page_token, position_of
from vestryd.services.references import Resolver, resolved


class ConfigService:
    """Answers ConfigService. Lives as long as the daemon serves."""

    service = "vestry.v1.ConfigService"

    def __init__(self, configs: Configs, feed: Feed, *, store: Store, environment: str, secrets: Resolver) -> None:
        self._configs = configs
        self._feed = feed
        self._store = store
        self._environment = environment
        self._secrets = secrets

    def get_config(
        self, request: pb.GetConfigRequest, call: Call
    ) -> pb.GetConfigResponse | Awaitable[pb.GetConfigResponse]:
        """Read the current document from memory, or another version from the store."""
        document = self._document(request.namespace, call)
        if request.version not in {0, document.version.number}:
            if request.resolve_secrets:
                raise InvalidField("version", "the values of secrets are given with the current version only")
            return self._get_version(document, request)
        effective = document.version.effective
        value = _at(document, effective, request.pointer) if request.pointer else effective
        response = pb.GetConfigResponse(
            namespace=document.name,
            version=document.version.number,
            value=canonical(value) if request.pointer else document.encoded,
            checksum=document.version.checksum,
            revision=self._revision(),
        )
        if request.include_provenance:
            response.provenance.extend(_provenance(value, document.version.folded.provenance, request.pointer))
        return self._resolve(response, value, call) if request.resolve_secrets else response

    def explain_config(self, request: pb.ExplainConfigRequest, call: Call) -> pb.ExplainConfigResponse:
        """Tell who says what about each leaf."""
        document = self._document(request.namespace, call)
        split(request.pointer)
        leaves = self._configs.explain(document.name, request.pointer)
        return pb.ExplainConfigResponse(
            namespace=document.name,
            version=document.version.number,
            leaves=[messages.explanation(leaf, document) for leaf in leaves],
            revision=self._revision(),
        )

    def watch_config(self, request: pb.WatchConfigRequest, call: Call) -> AsyncGenerator[bytes, None]:
        """Stream the namespaces' documents."""
        return self._feed.watch(watched_namespaces(request, call), request.resume_token)

    async def update_config(self, request: pb.UpdateConfigRequest, call: Call) -> pb.UpdateConfigResponse:
        """Change the runtime layer."""
        name = self._document(request.namespace, call).name
        write = requests.write(request, call)
        if request.WhichOneof("change") == "merge_patch":
            change = requests.json_object(KIND, name, "merge_patch", request.merge_patch)
            outcome = await self._configs.patch(name, change, write)
        elif request.WhichOneof("change") == "replace":
            change = requests.json_object(KIND, name, "replace", request.replace)
            outcome = await self._configs.replace(name, change, write)
        else:
            raise InvalidField("change", "set merge_patch or replace")
        return pb.UpdateConfigResponse(
            version=outcome.version,
            changed=outcome.changed,
            patch=canonical(outcome.patch),
            revision=self._revision(outcome.revision),
        )

    def validate_config(self, request: pb.ValidateConfigRequest, call: Call) -> pb.ValidateConfigResponse:
        """Check a document without changing anything."""
        document = self._document(request.namespace, call)
        layer = requests.layer(request.layer)
        try:
            content = requests.json_object(KIND, document.name, "document", request.document)
            found = self._configs.validate(document.name, layer, content)
        except DocumentInvalid as error:
            found = error.violations
        return pb.ValidateConfigResponse(valid=not found, violations=violations(found), version=document.version.number)

    async def list_config_versions(
        self, request: pb.ListConfigVersionsRequest, call: Call
    ) -> pb.ListConfigVersionsResponse:
        """List versions, newest first."""
        document = self._document(request.namespace, call)
        found, following = await page_of(document, request, partial(self._configs.versions, document.name))
        return pb.ListConfigVersionsResponse(
            versions=[messages.version(document.name, version, revision) for version, revision in found],
            next_page_token=following,
        )

    async def get_config_version(self, request: pb.GetConfigVersionRequest, call: Call) -> pb.GetConfigVersionResponse:
        """Read one version with its layers."""
        name = self._document(request.namespace, call).name
        version, revision = await self._configs.version(name, requests.version_number("version", request.version))
        return pb.GetConfigVersionResponse(
            version=messages.version(name, version, revision),
            layers=messages.layers(version),
            document=canonical(version.effective),
        )

    async def diff_config_versions(
        self, request: pb.DiffConfigVersionsRequest, call: Call
    ) -> pb.DiffConfigVersionsResponse:
        """Tell what changed between two versions."""
        name = self._document(request.namespace, call).name
        start = requests.version_number("from_version", request.from_version)
        end = requests.version_number("to_version", request.to_version)
        before, after, patch = await self._configs.diff(name, start, end)
        return pb.DiffConfigVersionsResponse(
            from_version=before.number, to_version=after.number, patch=canonical(patch)
        )

    async def rollback_config(self, request: pb.RollbackConfigRequest, call: Call) -> pb.RollbackConfigResponse:
        """Go back to an earlier version's layers."""
        name = self._document(request.namespace, call).name
        outcome = await self._configs.rollback(name, request.version, requests.write(request, call))
        return pb.RollbackConfigResponse(
            version=outcome.version,
            changed=outcome.changed,
            patch=canonical(outcome.patch),
            revision=self._revision(outcome.revision),
        )

    def get_config_schema(self, request: pb.GetConfigSchemaRequest, call: Call) -> pb.GetConfigSchemaResponse:
        """Read the schema."""
        name = self._document(request.namespace, call).name
        schema = self._configs.schema(name)
        return pb.GetConfigSchemaResponse(namespace=name, schema=canonical(schema.document), checksum=schema.checksum)

    def list_namespaces(self, request: pb.ListNamespacesRequest, _call: Call) -> pb.ListNamespacesResponse:
        """List the namespaces by name."""
        start = position_of("namespaces", request.page_token)
        size = page_size(request.page_size)
        documents = [one for one in self._configs.all() if one.name >= start]
        following = documents[size].name if len(documents) > size else ""
        return pb.ListNamespacesResponse(
            namespaces=[self._summary(one) for one in documents[:size]],
            next_page_token=page_token("namespaces", following) if following else "",
        )

    async def reload_config(self, request: pb.ReloadConfigRequest, call: Call) -> pb.ReloadConfigResponse:
        """Read the files again now."""
        name = check_namespace(request.namespace) if request.namespace else ""
        call.facts["namespace"] = name or "*"
        results = await self._configs.ingestion.reload(name)
        if name and not results:
            raise DocumentNotFound(KIND, name)
        return pb.ReloadConfigResponse(
            results=[
                pb.ReloadResult(
                    namespace=one.name,
                    version=one.version,
                    changed=one.changed,
                    rejection=messages.rejection(one.rejection) if one.rejection else None,
                )
                for one in results
            ]
        )

    def get_config_status(self, request: pb.GetConfigStatusRequest, call: Call) -> pb.GetConfigStatusResponse:
        """Tell how a namespace stands to its files."""
        document = self._document(request.namespace, call)
        rejection = self._configs.ingestion.rejection(document.name)
        return pb.GetConfigStatusResponse(
            namespace=document.name,
            version=document.version.number,
            checksum=document.version.checksum,
            environment=self._environment,
            update_time=timestamp(document.version.create_time),
            layers=[self._layer_status(document, layer) for layer in Layer],
            rejection=messages.rejection(rejection) if rejection else None,
            oldest_version=document.head.oldest,
            revision=self._revision(),
        )

    def _document(self, namespace: str, call: Call) -> Document:
        name = check_namespace(namespace)
        call.facts["namespace"] = name
        return self._configs.get(name)

    def _revision(self, revision: int | None = None) -> common.StoreRevision:
        return store_revision(self._store, self._configs.revision if revision is None else revision)

    async def _resolve(self, response: pb.GetConfigResponse, value: Json, call: Call) -> pb.GetConfigResponse:
        response.value = canonical(await resolved(value, self._secrets, call))
        return response

    async def _get_version(self, document: Document, request: pb.GetConfigRequest) -> pb.GetConfigResponse:
        version, _ = await self._configs.version(document.name, requests.version_number("version", request.version))
        value = _at(document, version.effective, request.pointer)
        response = pb.GetConfigResponse(
            namespace=document.name,
            version=version.number,
            value=canonical(value),
            checksum=version.checksum,
            revision=self._revision(),
        )
        if request.include_provenance:
            response.provenance.extend(_provenance(value, version.folded.provenance, request.pointer))
        return response

    def _summary(self, document: Document) -> pb.NamespaceSummary:
        ingestion = self._configs.ingestion
        return pb.NamespaceSummary(
            namespace=document.name,
            version=document.version.number,
            update_time=timestamp(document.version.create_time),
            drifted=any(ingestion.is_drifted(document, layer) for layer in Layer),
            rejected=ingestion.rejection(document.name) is not None,
        )

    def _layer_status(self, document: Document, layer: Layer) -> pb.LayerStatus:
        ingestion = self._configs.ingestion
        ingested = None if layer is Layer.RUNTIME else document.head.ingested.get(Slot[layer.name])
        return pb.LayerStatus(
            layer=layer_number(layer),
            file=ingestion.path_of(document.name, layer),
            present=layer in document.version.layers,
            drifted=ingestion.is_drifted(document, layer),
            ingest_time=timestamp(ingested.time) if ingested else None,
        )


def _at(document: Document, effective: Json, pointer: str) -> Json:
    split(pointer)
    try:
        return resolve(effective, pointer)
    except LookupError as error:
        raise PointerNotFound(KIND, document.name, pointer) from error


def _provenance(value: Json, provenance: Mapping[str, Layer], pointer: str) -> list[pb.LeafProvenance]:
    found = {leaf: layer_of(provenance, leaf) for leaf, _ in leaves(value, pointer)}
    return [
        pb.LeafProvenance(pointer=leaf, layer=layer_number(layer)) for leaf, layer in sorted(found.items()) if layer
    ]
