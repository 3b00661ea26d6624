"""Files are sources, the store is the truth: how what is in the files becomes a proposal, and what becomes of bad files.

A file is taken in when its content differs from what was last taken in from it; so a rollback stays in force until somebody
edits the file. All files of a document make one proposal. Files that can't be used change nothing: the document is marked
as rejected, with the reasons, until they can.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from vestryd.domain.clock import Clock
from vestryd.domain.documents import Document, Documents
from vestryd.domain.errors import DocumentInvalid, LimitExceeded, SourceInvalid, Violation
from vestryd.domain.formats.formats import parse, require_object
from vestryd.domain.jsonvalue import Json, canonical, checksum
from vestryd.domain.layers import Layer
from vestryd.domain.proposals import Contents, Proposal, Proposals
from vestryd.domain.schema.schema import Schema
from vestryd.domain.sources import SourceFile, Sources
from vestryd.domain.versions import Cause, Ingested, Slot

AUTHOR = "files"  # the author of versions that come from files
MAX_VIOLATIONS = 100


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the files of a document, as they are now, are not taken in."""

    time: datetime
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did to one document. `version` is the one in force, 0 when there is none."""

    name: str
    version: int
    changed: bool
    rejection: Rejection | None = None
    ended_rejection: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one document as they were found. `digest` covers their bytes; a slot without a file has no checksum."""

    digest: bytes
    contents: Contents = field(default_factory=Contents)
    checksums: Mapping[Slot, str] = field(default_factory=dict)
    files: Mapping[Slot, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()


class Ingestion:
    """Takes the files of one kind of document in. Lives as long as the daemon.

    `on_rejected` is called with a document's name each time its files are rejected for new reasons, `on_reloaded` each
    time a reload made a version or ended a rejection; neither may wait or raise. `source_problems` holds (path, problem)
    for what stands where only a document's directory can be, as it was `problems_since`.
    """

    def __init__(
        self, kind: str, *, documents: Documents, proposals: Proposals, sources: Sources, clock: Clock
    ) -> None:
        self.on_rejected: Callable[[str, Rejection], None] = lambda _name, _rejection: None
        self.on_reloaded: Callable[[Reloaded], None] = lambda _reloaded: None
        self.source_problems: tuple[tuple[str, str], ...] = ()
        self.problems_since = clock.now()
        self.kind = kind
        self._documents = documents
        self._proposals = proposals
        self._sources = sources
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._found: dict[str, Found] = {}  # document name -> its files at the last reload
        self._rejections: dict[str, Rejection] = {}  # document name -> why its files are rejected at the moment

    async def reload(self, name: str = "", *, force: bool = True) -> list[Reloaded]:
        """Read the files of one document, or of all, and propose what changed. Never raises for what is in a file.

        Without `force`, files whose bytes are those of the last reload are passed over. Raises StoreUnavailable when the
        store can't take a change; the next reload tries again.
        """
        async with self._one_at_a_time:
            names = [name] if name else await self._names()
            return [reloaded for one in names if (reloaded := await self._reload(one, force=force))]

    def rejection(self, name: str) -> Rejection | None:
        """Return why the files of a document are rejected at the moment, or None."""
        return self._rejections.get(name)

    def rejections(self) -> Mapping[str, Rejection]:
        """Return document name -> why its files are rejected at the moment."""
        return dict(self._rejections)

    def path_of(self, name: str, layer: Layer) -> str:
        """Return where the file of a layer is or would be; empty for the runtime layer."""
        return "" if layer is Layer.RUNTIME else self._sources.path_of(name, Slot[layer.name])

    def is_drifted(self, document: Document, layer: Layer) -> bool:
        """Tell whether a layer in force differs from its file as it was at the last look."""
        found = self._found.get(document.name)
        if found is None or layer is Layer.RUNTIME:
            return False
        slot = Slot[layer.name]
        if slot in found.files and slot not in found.checksums:
            return True  # there is a file, and it can't be read
        content = document.version.layers.get(layer)
        in_force = checksum(canonical(content)) if content is not None else ""
        return in_force != found.checksums.get(slot, "")

    async def _names(self) -> list[str]:
        in_files = await asyncio.to_thread(self._sources.names)
        problems = await asyncio.to_thread(self._sources.problems)
        if problems != self.source_problems:
            self.source_problems, self.problems_since = problems, self._clock.now()
        return sorted({*in_files, *self._rejections, *(one.name for one in self._documents.all(self.kind))})

    async def _reload(self, name: str, *, force: bool) -> Reloaded | None:
        found = await asyncio.to_thread(find, self._sources, name)
        before = self._found.get(name)
        is_news = before is None or before.digest != found.digest
        document = self._documents.find(self.kind, name)
        if not (document or found.files):
            self._forget(name)
            return None
        if not (force or is_news or name in self._rejections):
            return None
        try:
            reloaded = await self._take_in(name, document, found)
        except (DocumentInvalid, SourceInvalid) as error:
            reloaded = self._reject(name, document, error.violations)
        except LimitExceeded as error:
            reloaded = self._reject(name, document, (Violation("", "size", str(error)),))
        self._found[name] = found  # not before: a reload that was broken off is tried again
        return reloaded

    def _forget(self, name: str) -> None:
        """Let go of files that were never taken in and are no more."""
        self._found.pop(name, None)
        if self._rejections.pop(name, None):
            self.on_reloaded(Reloaded(name, 0, changed=False, ended_rejection=True))

    async def _take_in(self, name: str, document: Document | None, found: Found) -> Reloaded:
        if found.violations:
            raise SourceInvalid(found.violations)
        ingested = document.head.ingested if document else {}
        if not found.files and any(one.checksum for one in ingested.values()):
            raise SourceInvalid((_gone(self._sources.path_of(name, Slot.DEFAULT)),))
        now = self._clock.now()
        fresh = {
            slot: Ingested(found.checksums.get(slot, ""), now)
            for slot in Slot
            if found.checksums.get(slot, "") != (ingested[slot].checksum if slot in ingested else "")
        }
        version, changed = (document.version.number, False) if document else (0, False)
        if fresh:
            outcome = await self._proposals.propose(self._proposal(name, found, fresh))
            version, changed = outcome.version, outcome.changed
        ended = self._rejections.pop(name, None) is not None
        reloaded = Reloaded(name, version, changed=changed, ended_rejection=ended)
        if changed or ended:
            self.on_reloaded(reloaded)
        return reloaded

    def _proposal(self, name: str, found: Found, fresh: Mapping[Slot, Ingested]) -> Proposal:
        def edit(before: Contents) -> Contents:
            layers = {**before.layers}
            for layer in (slot.layer for slot in fresh if slot.layer):
                layers.pop(layer, None)
                if layer in found.contents.layers:
                    layers[layer] = found.contents.layers[layer]
            return Contents(layers, found.contents.schema if Slot.SCHEMA in fresh else before.schema)

        changed = [_base_name(found.files.get(slot) or self._sources.path_of(name, slot)) for slot in fresh]
        return Proposal(
            kind=self.kind,
            name=name,
            edit=edit,
            author=AUTHOR,
            message=", ".join(changed),
            cause=Cause.FILE,
            create=True,
            ingested=fresh,
            files={slot.layer: found.files[slot] for slot in fresh if slot.layer and slot in found.files},
        )

    def _reject(self, name: str, document: Document | None, violations: tuple[Violation, ...]) -> Reloaded:
        before = self._rejections.get(name)
        violations = violations[:MAX_VIOLATIONS]
        if before and before.violations == violations:
            rejection = before
        else:
            rejection = self._rejections[name] = Rejection(self._clock.now(), violations)
            self.on_rejected(name, rejection)
        return Reloaded(name, document.version.number if document else 0, changed=False, rejection=rejection)


def find(sources: Sources, name: str) -> Found:
    """Read and parse the files of one document. Blocks on the disk; never raises for what it finds there."""
    digest = hashlib.sha256()
    layers: dict[Layer, Json] = {}
    schema: Schema | None = None
    checksums: dict[Slot, str] = {}
    files: dict[Slot, str] = {}
    violations: list[Violation] = []
    for place, file in sorted(sources.read(name).items()):
        slot = Slot(place)
        files[slot] = file.path
        digest.update(f"{slot} {file.path} {file.problem} ".encode())
        digest.update(hashlib.sha256(file.content or b"").digest())
        try:
            content = _content_of(file)
            if slot is Slot.SCHEMA:
                schema = Schema(content)
            elif slot.layer:
                layers[slot.layer] = content
            checksums[slot] = checksum(canonical(content))
        except SourceInvalid as error:
            violations += [_in_file(one, file.path) for one in error.violations]
    return Found(digest.digest(), Contents(layers, schema), checksums, files, tuple(violations))


def _content_of(file: SourceFile) -> Json:
    if file.content is None:
        raise SourceInvalid((Violation("", "source", file.problem, file=file.path),))
    return require_object(parse(file.content, format=file.format, file=file.path), file=file.path)


def _in_file(violation: Violation, path: str) -> Violation:
    return violation if violation.file else replace(violation, file=path)


def _gone(path: str) -> Violation:
    message = "every file of this document is gone; put them back, or go on with what is in force"
    return Violation("", "source", message, file=path.rpartition("/")[0])


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
