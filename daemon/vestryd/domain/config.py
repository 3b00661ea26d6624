"""Configuration: what a namespace's document is, and what can be asked of it and done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vestryd.domain.documents import Document, Documents, Kind
from vestryd.domain.errors import DocumentInvalid, InvalidField, PointerNotFound, SchemaNotFound, Violation
from vestryd.domain.ingest import Ingestion
from vestryd.domain.jsonvalue import Json
from vestryd.domain.layers import Layer, merge_patch
from vestryd.domain.patch import diff
from vestryd.domain.pointer import join, leaves, resolve, split
from vestryd.domain.proposals import Contents, Edit, Outcome, Proposal, Proposals
from vestryd.domain.schema import Schema
from vestryd.domain.versions import Cause, Version

KIND = "config"
MAX_VIOLATIONS = 100


def _accept(_name: str, _effective: Json) -> None:
    """Ask nothing more of a configuration than its own schema does."""


CONFIG = Kind(KIND, compile=_accept)


@dataclass(frozen=True, slots=True)
class Write:
    """What every write to a namespace says beside the change itself; the fields are explained at `Proposal`."""

    author: str
    message: str = ""
    expected_version: int | None = None
    dry_run: bool = False
    request_id: str = ""
    fingerprint: str = ""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Who says what about one leaf.

    `value` is absent (`hidden` is true) when a later layer deletes or replaces the leaf; `layer` is the one that decided.
    `opinions` maps each layer that says something -> what it says; None there is JSON's null, which deletes.
    """

    pointer: str
    value: Json
    hidden: bool
    layer: Layer
    opinions: Mapping[Layer, Json]


class Configs:
    """The configuration of a fleet, by namespace. Reads are answered from memory unless they ask for history."""

    def __init__(self, documents: Documents, proposals: Proposals, ingestion: Ingestion) -> None:
        self.ingestion = ingestion
        self._documents = documents
        self._proposals = proposals

    @property
    def revision(self) -> int:
        """The store's revision that reads are true at."""
        return self._documents.revision

    def get(self, namespace: str) -> Document:
        """Return a namespace's document, or raise DocumentNotFound."""
        return self._documents.get(KIND, namespace)

    def find(self, namespace: str) -> Document | None:
        """Return a namespace's document, or None."""
        return self._documents.find(KIND, namespace)

    def all(self) -> list[Document]:
        """Return every namespace's document, by name."""
        return self._documents.all(KIND)

    def schema(self, namespace: str) -> Schema:
        """Return the schema of a namespace, or raise SchemaNotFound."""
        document = self.get(namespace)
        if document.schema is None:
            raise SchemaNotFound(KIND, namespace)
        return document.schema

    async def version(self, namespace: str, number: int) -> tuple[Version, int]:
        """Return one version and its revision; `number` 0 means the current one. Raises VersionNotFound."""
        return await self._documents.version(KIND, namespace, number)

    async def versions(self, namespace: str, *, newest: int, limit: int) -> list[tuple[Version, int]]:
        """Return up to `limit` versions and their revisions, from number `newest` downwards."""
        return await self._documents.versions(KIND, namespace, newest=newest, limit=limit)

    async def diff(self, namespace: str, start: int, end: int) -> tuple[Version, Version, list[dict[str, Json]]]:
        """Return two versions and what changed between their effective documents, after RFC 6902."""
        before, _ = await self.version(namespace, start)
        after, _ = await self.version(namespace, end)
        return before, after, diff(before.effective, after.effective)

    def explain(self, namespace: str, pointer: str) -> list[Leaf]:
        """Return who says what about each leaf at or below `pointer`, by pointer. Raises PointerNotFound."""
        document = self.get(namespace)
        layers = {layer: document.version.layers[layer] for layer in Layer if layer in document.version.layers}
        contents = (*layers.values(), document.version.effective) if layers else ()
        pointers = {leaf for content in contents for leaf in _leaves_at(content, pointer)}
        if not pointers:
            raise PointerNotFound(KIND, namespace, pointer)
        explained = (_explain(document, layers, one) for one in sorted(pointers, key=split))
        return [leaf for leaf in explained if not _is_filled(document, leaf)]

    def validate(self, namespace: str, layer: Layer | None, content: Json) -> tuple[Violation, ...]:
        """Return what would be wrong with a namespace whose layer (None: whose effective document) is `content`."""
        document = self.get(namespace)
        layers = {**document.version.layers, layer: content} if layer else {Layer.DEFAULT: content}
        files = {one: file for one, file in document.version.files.items() if layer and one is not layer}
        try:
            self._proposals.check(KIND, namespace, Contents(layers, document.schema), files)
        except DocumentInvalid as error:
            return error.violations[:MAX_VIOLATIONS]
        return ()

    async def patch(self, namespace: str, patch: Json, write: Write) -> Outcome:
        """Apply an RFC 7396 merge patch to the runtime layer."""

        def edit(before: Contents) -> Contents:
            return _with_runtime(before, merge_patch(before.layers.get(Layer.RUNTIME, {}), patch))

        return await self._write(namespace, edit, write, Cause.UPDATE)

    async def replace(self, namespace: str, content: Json, write: Write) -> Outcome:
        """Replace the runtime layer."""
        return await self._write(namespace, lambda before: _with_runtime(before, content), write, Cause.UPDATE)

    async def rollback(self, namespace: str, number: int, write: Write) -> Outcome:
        """Make a new version with the layers of version `number`; the schema stays today's. Raises VersionNotFound."""
        if number < 1:
            raise InvalidField("version", "name the version to go back to, 1 or more")
        version, _ = await self.version(namespace, number)

        def edit(before: Contents) -> Contents:
            return Contents(version.layers, before.schema)

        return await self._write(namespace, edit, write, Cause.ROLLBACK, rollback_of=number)

    async def _write(self, namespace: str, edit: Edit, write: Write, cause: Cause, *, rollback_of: int = 0) -> Outcome:
        proposal = Proposal(
            kind=KIND,
            name=namespace,
            edit=edit,
            author=write.author,
            message=write.message,
            cause=cause,
            expected_version=write.expected_version,
            dry_run=write.dry_run,
            request_id="" if write.dry_run else write.request_id,
            fingerprint=write.fingerprint,
            call_id=write.call_id,
            rollback_of=rollback_of,
        )
        return await self._proposals.propose(proposal)


def layer_of(provenance: Mapping[str, Layer], pointer: str) -> Layer | None:
    """Return the layer that set a leaf, or the array that it is in; None when `provenance` has neither."""
    parts = split(pointer)
    around = (provenance.get(join(parts[:depth])) for depth in range(len(parts), -1, -1))
    return next((layer for layer in around if layer is not None), None)


def _with_runtime(before: Contents, runtime: Json) -> Contents:
    layers = {**before.layers, Layer.RUNTIME: runtime}
    if runtime == {}:
        del layers[Layer.RUNTIME]
    return Contents(layers, before.schema)


def _is_filled(document: Document, leaf: Leaf) -> bool:
    """Tell whether a leaf is an empty object in some layer that others have filled: it hides nothing, and is not hidden."""
    if not leaf.hidden or not all(isinstance(opinion, dict) for opinion in leaf.opinions.values()):
        return False
    try:
        return bool(resolve(document.version.effective, leaf.pointer))
    except LookupError:
        return False


def _leaves_at(content: Json, pointer: str) -> Iterator[str]:
    try:
        value = resolve(content, pointer)
    except LookupError:
        return
    yield from (leaf for leaf, _ in leaves(value, pointer))


def _explain(document: Document, layers: dict[Layer, Json], pointer: str) -> Leaf:
    opinions = {}
    for one, content in layers.items():
        try:
            opinions[one] = resolve(content, pointer)
        except LookupError:
            continue
    layer = layer_of(document.version.folded.provenance, pointer)
    try:
        value = resolve(document.version.effective, pointer)
    except LookupError:
        layer = None
    if layer is None:
        return Leaf(pointer, None, hidden=True, layer=_who_hides(layers, pointer), opinions=opinions)
    return Leaf(pointer, value, hidden=False, layer=layer, opinions=opinions)


def _who_hides(layers: dict[Layer, Json], pointer: str) -> Layer:
    """Return the last layer that says something at the pointer or, above it, something that is not an object."""
    parts = split(pointer)
    for layer in reversed(layers):
        content = layers[layer]
        for depth in range(len(parts) + 1):
            try:
                here = resolve(content, join(parts[:depth]))
            except LookupError:
                break
            if depth == len(parts) or not isinstance(here, dict):
                return layer
    raise AssertionError("a leaf that no layer mentions is not a leaf")
