"""ConfigService: the wire's meaning of configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping

from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.config import KIND, Configs, Write, layer_of
from vestryd.domain.documents import Document
from vestryd.domain.errors import (
    DocumentInvalid,
    DocumentNotFound,
    InvalidField,
    InvalidPageToken,
    PointerNotFound,
    SourceInvalid,
)
from vestryd.domain.formats import parse, require_object
from vestryd.domain.jsonvalue import Json, canonical, checksum
from vestryd.domain.layers import Layer, fold
from vestryd.domain.names import check_namespace
from vestryd.domain.pointer import leaves, resolve, split
from vestryd.domain.store import Store
from vestryd.domain.versions import Slot
from vestryd.services import config_messages as messages
from vestryd.services.call import Call
from vestryd.services.feed import Feed
from vestryd.services.paging import page_size, page_token, position_of

MAX_WATCHED_NAMESPACES = 100
MAX_MESSAGE_CHARACTERS = 1024
MAX_REQUEST_ID_CHARACTERS = 128


class ConfigService:
    """Answers ConfigService. Lives as long as the daemon serves."""

    service = "vestry.v1.ConfigService"

    def __init__(self, configs: Configs, feed: Feed, *, store: Store, environment: str) -> None:
        self._configs = configs
        self._feed = feed
        self._store = store
        self._environment = environment

    def get_config(
        self, request: pb.GetConfigRequest, call: Call
    ) -> pb.GetConfigResponse | Awaitable[pb.GetConfigResponse]:
        """Read the current document from memory, or another version from the store."""
        document = self._document(request.namespace, call)
        if request.version not in {0, document.version.number}:
            return self._get_version(document, request)
        value = _at(document, document.version.effective, request.pointer)
        response = pb.GetConfigResponse(
            namespace=document.name,
            version=document.version.number,
            value=canonical(value) if request.pointer else document.encoded,
            checksum=document.version.checksum,
            revision=self._revision(),
        )
        if request.include_provenance:
            response.provenance.extend(_provenance(value, document.folded.provenance, request.pointer))
        return response

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
        if len(request.namespaces) > MAX_WATCHED_NAMESPACES:
            problem = f"{len(request.namespaces)} are named: watch at most {MAX_WATCHED_NAMESPACES} in one stream"
            raise InvalidField("namespaces", problem)
        names = [check_namespace(name) for name in request.namespaces or [""]]
        call.facts["namespaces"] = names
        return self._feed.watch(names, request.resume_token)

    async def update_config(self, request: pb.UpdateConfigRequest, call: Call) -> pb.UpdateConfigResponse:
        """Change the runtime layer."""
        name = self._document(request.namespace, call).name
        write = _write(request, call)
        if request.WhichOneof("change") == "merge_patch":
            outcome = await self._configs.patch(name, _object(name, "merge_patch", request.merge_patch), write)
        elif request.WhichOneof("change") == "replace":
            outcome = await self._configs.replace(name, _object(name, "replace", request.replace), write)
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
        layer = _layer(request.layer)
        try:
            content = _object(document.name, "document", request.document)
            violations = self._configs.validate(document.name, layer, content)
        except DocumentInvalid as error:
            violations = error.violations
        return pb.ValidateConfigResponse(
            valid=not violations, violations=messages.violations(violations), version=document.version.number
        )

    async def list_config_versions(
        self, request: pb.ListConfigVersionsRequest, call: Call
    ) -> pb.ListConfigVersionsResponse:
        """List versions, newest first."""
        document = self._document(request.namespace, call)
        scope = f"versions/{document.name}"
        position = position_of(scope, request.page_token)
        newest = min(_page_start(position), document.head.version) if position else document.head.version
        size = page_size(request.page_size)
        found = await self._configs.versions(document.name, newest=newest, limit=size)
        following = found[-1][0].number - 1 if found else 0
        more = following >= document.head.oldest
        return pb.ListConfigVersionsResponse(
            versions=[messages.version(document.name, version, revision) for version, revision in found],
            next_page_token=page_token(scope, str(following)) if more else "",
        )

    async def get_config_version(self, request: pb.GetConfigVersionRequest, call: Call) -> pb.GetConfigVersionResponse:
        """Read one version with its layers."""
        name = self._document(request.namespace, call).name
        version, revision = await self._configs.version(name, _number("version", request.version))
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
        start, end = _number("from_version", request.from_version), _number("to_version", request.to_version)
        before, after, patch = await self._configs.diff(name, start, end)
        return pb.DiffConfigVersionsResponse(
            from_version=before.number, to_version=after.number, patch=canonical(patch)
        )

    async def rollback_config(self, request: pb.RollbackConfigRequest, call: Call) -> pb.RollbackConfigResponse:
        """Go back to an earlier version's layers."""
        name = self._document(request.namespace, call).name
        outcome = await self._configs.rollback(name, request.version, _write(request, call))
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
            update_time=messages.timestamp(document.version.create_time),
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
        return common.StoreRevision(
            store_id=self._store.store_id,
            incarnation=self._store.incarnation,
            revision=self._configs.revision if revision is None else revision,
        )

    async def _get_version(self, document: Document, request: pb.GetConfigRequest) -> pb.GetConfigResponse:
        version, _ = await self._configs.version(document.name, _number("version", request.version))
        value = _at(document, version.effective, request.pointer)
        response = pb.GetConfigResponse(
            namespace=document.name,
            version=version.number,
            value=canonical(value),
            checksum=version.checksum,
            revision=self._revision(),
        )
        if request.include_provenance:
            response.provenance.extend(_provenance(value, fold(version.layers).provenance, request.pointer))
        return response

    def _summary(self, document: Document) -> pb.NamespaceSummary:
        ingestion = self._configs.ingestion
        return pb.NamespaceSummary(
            namespace=document.name,
            version=document.version.number,
            update_time=messages.timestamp(document.version.create_time),
            drifted=any(ingestion.is_drifted(document, layer) for layer in Layer),
            rejected=ingestion.rejection(document.name) is not None,
        )

    def _layer_status(self, document: Document, layer: Layer) -> pb.LayerStatus:
        ingestion = self._configs.ingestion
        ingested = None if layer is Layer.RUNTIME else document.head.ingested.get(Slot[layer.name])
        return pb.LayerStatus(
            layer=messages.layer_number(layer),
            file=ingestion.path_of(document.name, layer),
            present=layer in document.version.layers,
            drifted=ingestion.is_drifted(document, layer),
            ingest_time=messages.timestamp(ingested.time) if ingested else None,
        )


def _write(request: pb.UpdateConfigRequest | pb.RollbackConfigRequest, call: Call) -> Write:
    if len(request.message) > MAX_MESSAGE_CHARACTERS:
        raise InvalidField("message", f"it is longer than {MAX_MESSAGE_CHARACTERS} characters")
    _check_request_id(request.request_id)
    return Write(
        author=call.caller,
        message=request.message,
        expected_version=request.expected_version if request.HasField("expected_version") else None,
        dry_run=request.dry_run,
        request_id=request.request_id,
        fingerprint=checksum(call.method.path.encode() + request.SerializeToString(deterministic=True)),
    )


def _check_request_id(request_id: str) -> None:
    printable = request_id.isascii() and request_id.isprintable()
    if len(request_id) > MAX_REQUEST_ID_CHARACTERS or not printable:
        raise InvalidField("request_id", f"use at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")


def _object(namespace: str, field: str, content: bytes) -> Json:
    """Return the JSON object in a field of the request. Raises DocumentInvalid, naming the field as its file."""
    try:
        return require_object(parse(content, format="json", file=field), file=field)
    except SourceInvalid as error:
        raise DocumentInvalid(KIND, namespace, error.violations) from error


def _layer(number: common.Layer.ValueType) -> Layer | None:
    try:
        return Layer(number) if number else None
    except ValueError as error:
        raise InvalidField("layer", f"there is no layer {number}") from error


def _number(field: str, number: int) -> int:
    if number < 0:
        raise InvalidField(field, "a version is 1 or more; 0 means the current one")
    return number


def _page_start(position: str) -> int:
    try:
        return int(position)
    except ValueError as error:
        raise InvalidPageToken from error


def _at(document: Document, effective: Json, pointer: str) -> Json:
    split(pointer)
    try:
        return resolve(effective, pointer)
    except LookupError as error:
        raise PointerNotFound(KIND, document.name, pointer) from error


def _provenance(value: Json, provenance: Mapping[str, Layer], pointer: str) -> list[pb.LeafProvenance]:
    found = {leaf: layer_of(provenance, leaf) for leaf, _ in leaves(value, pointer)}
    return [
        pb.LeafProvenance(pointer=leaf, layer=messages.layer_number(layer))
        for leaf, layer in sorted(found.items())
        if layer
    ]
