"""Configuration: what a namespace's document is, and what can be asked of it and done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vestryd.domain.documents import Document, Documents, Kind
from vestryd.domain.errors import PointerNotFound, SchemaNotFound
from vestryd.domain.ingest import Ingestion
from vestryd.domain.jsonvalue import Json
from vestryd.domain.layered import Layered
from vestryd.domain.layers import Layer
from vestryd.domain.pointer import join, leaves, resolve, split
from vestryd.domain.proposals import Proposals
from vestryd.domain.references import check_references, excuse
from vestryd.domain.schema.schema import Schema

KIND = "config"


# A configuration must meet its own schema, but where it refers to secrets; and what it refers with must be a reference.
CONFIG = Kind(KIND, compile=lambda _name, effective: check_references(effective), excuse=excuse)


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


class Configs(Layered):
    """The configuration of a fleet, by namespace. Reads are answered from memory unless they ask for history."""

    def __init__(self, documents: Documents, proposals: Proposals, ingestion: Ingestion) -> None:
        super().__init__(KIND, documents, proposals)
        self.ingestion = ingestion

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


def layer_of(provenance: Mapping[str, Layer], pointer: str) -> Layer | None:
    """Return the layer that set a leaf, or the array that it is in; None when `provenance` has neither."""
    parts = split(pointer)
    around = (provenance.get(join(parts[:depth])) for depth in range(len(parts), -1, -1))
    return next((layer for layer in around if layer is not None), None)


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
