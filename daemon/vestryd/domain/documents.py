"""Every document in memory: layered, validated, versioned, and applied from the store's own watch.

    propose ─▶ merge ─▶ validate ─▶ commit ─▶ (the store's watch) ─▶ apply ─▶ readers, watchers

This module is the right half of the road, `proposals` the left. What readers see changes in one place alone, `_apply`, and
only by a batch that came back from the store. So one daemon and several over a shared store run the same code, and a restart
replays the same road.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vestryd.domain.errors import DocumentNotFound, SourceInvalid, VersionNotFound, Violation
from vestryd.domain.following import follow
from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.reached import Reached
from vestryd.domain.schema.schema import Schema
from vestryd.domain.store import Batch, Entry, Snapshot, Store
from vestryd.domain.versions import HEADS, Head, Version, schema_key, version_key


@dataclass(frozen=True, slots=True)
class Kind:
    """What a noun adds to the engine.

    `compile` gets a document's name and its effective content once that met the schema; it returns what the noun evaluates
    (kept as `Document.compiled`), or raises SourceInvalid. `schema` is the kind's own; None: each document brings its own.
    `initial` is the effective content that is in force while there is no document. `excuse` returns those of a schema's
    violations that count, given the content.
    """

    name: str
    compile: Callable[[str, Json], Any]
    schema: Schema | None = None
    initial: Json = field(default_factory=dict)
    excuse: Callable[[Sequence[Violation], Json], Sequence[Violation]] = lambda violations, _effective: violations

    def evaluate(self, name: str, effective: Json, schema: Schema | None = None) -> Any:
        """Return what the noun evaluates; `schema` is the document's own. Raises SourceInvalid."""
        schema = self.schema or schema
        violations = self.excuse(schema.violations(effective) if schema else (), effective)
        if violations:
            raise SourceInvalid(tuple(violations))
        return self.compile(name, effective)


@dataclass(frozen=True, slots=True)
class Document:
    """A document as readers see it: whole, at one version. Replaced, never changed.

    `encoded` is the effective content as canonical JSON. `revision` is the store's at which the version was committed, and
    `head_revision` that of the head, which moves also when a file is taken in that changes nothing. `broken` is why this
    release can't evaluate what another one has stored; `compiled` is None then.
    """

    kind: str
    name: str
    version: Version
    encoded: bytes
    schema: Schema | None
    compiled: Any
    head: Head
    revision: int
    head_revision: int
    broken: tuple[Violation, ...] = ()


class Documents:
    """The documents of a store, for as long as the daemon lives.

    `load` first; then `follow` runs as a task, and everything else may be called. `on_applied` is called with the changed
    documents of one revision right after readers can see them; it must neither wait nor raise.
    """

    def __init__(self, store: Store, kinds: Iterable[Kind]) -> None:
        self.on_applied: Callable[[int, tuple[Document, ...]], None] = lambda _revision, _documents: None
        self.kinds = {kind.name: kind for kind in kinds}
        self._store = store
        self._documents: dict[tuple[str, str], Document] = {}
        self._prepared: dict[str, tuple[bytes, Document]] = {}  # version key -> its record, and what it makes
        self._reached = Reached()

    @property
    def revision(self) -> int:
        """The store's revision that reads are true at."""
        return self._reached.revision

    def find(self, kind: str, name: str) -> Document | None:
        """Return the document, or None."""
        return self._documents.get((kind, name))

    def get(self, kind: str, name: str) -> Document:
        """Return the document, or raise DocumentNotFound."""
        document = self._documents.get((kind, name))
        if document is None:
            raise DocumentNotFound(kind, name)
        return document

    def all(self, kind: str) -> list[Document]:
        """Return the documents of a kind, by name."""
        return sorted((one for one in self._documents.values() if one.kind == kind), key=lambda one: one.name)

    async def version(self, kind: str, name: str, number: int) -> tuple[Version, int]:
        """Return one version and the revision it was committed at; `number` 0 means the current one."""
        document = self.get(kind, name)
        if number in {0, document.version.number}:
            return document.version, document.revision
        oldest, newest = document.head.oldest, document.head.version
        if oldest <= number <= newest:
            found = await self._store.read(version_key(kind, name, number))
            if found.entries:
                return Version.decode(found.entries[0].value, kind, name), found.entries[0].create_revision
        raise VersionNotFound(kind, name, number, oldest, newest)

    async def versions(self, kind: str, name: str, *, newest: int, limit: int) -> list[tuple[Version, int]]:
        """Return up to `limit` versions and their revisions, from number `newest` downwards."""
        oldest = max(newest - limit + 1, self.get(kind, name).head.oldest)
        if oldest > newest:
            return []
        prefix = version_key(kind, name, 0).rpartition("/")[0] + "/"
        start = version_key(kind, name, oldest)
        found = await self._store.read(prefix, start=start, limit=newest - oldest + 1)
        return [(Version.decode(entry.value, kind, name), entry.create_revision) for entry in reversed(found.entries)]

    async def load(self) -> None:
        """Read every document as it is now; what readers see is replaced at once, at the end."""
        heads, documents = await self._read_all()
        before = self._documents
        self._documents = {(one.kind, one.name): one for one in documents}
        self._reached.reach(heads.revision)
        changed = tuple(one for one in documents if not _same_version(one, before.get((one.kind, one.name))))
        if changed:
            self.on_applied(heads.revision, changed)

    async def follow(self) -> None:
        """Apply what the store commits, until it is closed or this is cancelled."""
        try:
            await follow(self._store, "", reached=lambda: self.revision, apply=self._apply, start_over=self.load)
        finally:
            self._reached.end()

    async def until(self, revision: int) -> None:
        """Return once readers see `revision`. Raises ShuttingDown when nothing is applied any more."""
        await self._reached.until(revision)

    def prepare(self, record: bytes, document: Document) -> Callable[[], None]:
        """Spare `_apply` the work of building `document` again from its `record`; call the result when that is over."""
        key = version_key(document.kind, document.name, document.version.number)
        self._prepared[key] = (record, document)
        return lambda: self._prepared.pop(key, None) and None

    async def _read_all(self) -> tuple[Snapshot, list[Document]]:
        while True:
            heads = await self._store.read(HEADS)
            documents = [await self._read(entry) for entry in heads.entries if self._is_known(entry.key)]
            whole = [one for one in documents if one]
            if len(whole) == len(documents):
                return heads, whole

    def _is_known(self, head: str) -> bool:
        """Tell whether the head is of a kind that this release knows; what a newer one left behind is let be."""
        return head.split("/", 2)[1] in self.kinds

    async def _read(self, entry: Entry) -> Document | None:
        """Return the document as of its head, None when retention has forgotten that version since."""
        _, kind, name = entry.key.split("/", 2)
        head = Head.decode(entry.value)
        found = await self._store.read(version_key(kind, name, head.version))
        if not found.entries:
            return None
        version = Version.decode(found.entries[0].value, kind, name)
        schema = await self._read_schema(kind, name, version.schema)
        return self._build(kind, name, version, schema, head, found.entries[0].create_revision, entry.mod_revision)

    async def _read_schema(self, kind: str, name: str, schema_checksum: str) -> Schema | None:
        if not schema_checksum:
            return None
        found = await self._store.read(schema_key(kind, name, schema_checksum))
        return Schema(json.loads(found.entries[0].value))

    def _apply(self, batch: Batch) -> None:
        """Let readers see one revision: swap the documents in, wake those who wait for it, tell the watchers."""
        changed = []
        for key, entry in batch.changes.items():
            if not key.startswith(HEADS) or not self._is_known(key):
                continue
            _, kind, name = key.split("/", 2)
            if entry is None:
                self._documents.pop((kind, name), None)
                continue
            before = self._documents.get((kind, name))
            document = self._next(kind, name, before, entry, batch.changes)
            self._documents[kind, name] = document
            if not _same_version(document, before):
                changed.append(document)
        self._reached.reach(batch.revision)
        if changed:
            self.on_applied(batch.revision, tuple(changed))

    def _next(
        self, kind: str, name: str, before: Document | None, entry: Entry, changes: Mapping[str, Entry | None]
    ) -> Document:
        head = Head.decode(entry.value)
        if before and head.version == before.version.number:
            return replace(before, head=head, head_revision=entry.mod_revision)
        key = version_key(kind, name, head.version)
        record = changes[key]
        assert record is not None, "a head and its version are written together"
        made, document = self._prepared.get(key, (b"", None))
        if document and made == record.value:
            return replace(document, head=head, revision=record.mod_revision, head_revision=entry.mod_revision)
        version = Version.decode(record.value, kind, name)
        schema = self._next_schema(before, version.schema, changes.get(schema_key(kind, name, version.schema)))
        return self._build(kind, name, version, schema, head, record.mod_revision, entry.mod_revision)

    def _next_schema(self, before: Document | None, checksum: str, written: Entry | None) -> Schema | None:
        if not checksum:
            return None
        if written:
            return Schema(json.loads(written.value))
        return before.schema if before else None

    def _build(
        self,
        kind: str,
        name: str,
        version: Version,
        schema: Schema | None,
        head: Head,
        revision: int,
        head_revision: int,
    ) -> Document:
        compiled: Any = None
        broken: tuple[Violation, ...] = ()
        try:
            compiled = self.kinds[kind].evaluate(name, version.effective)
        except SourceInvalid as error:
            broken = error.violations
        return Document(
            kind=kind,
            name=name,
            version=version,
            encoded=canonical(version.effective),
            schema=schema,
            compiled=compiled,
            head=head,
            revision=revision,
            head_revision=head_revision,
            broken=broken,
        )


def _same_version(one: Document, other: Document | None) -> bool:
    return other is not None and one.version.number == other.version.number
