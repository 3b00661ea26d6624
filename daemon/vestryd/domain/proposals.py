"""The road of a change up to its commit: merge, validate, commit, and wait until readers see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

from vestryd.domain.clock import Clock
from vestryd.domain.documents import Document, Documents
from vestryd.domain.errors import (
    Conflict,
    DocumentInvalid,
    DocumentNotFound,
    LimitExceeded,
    RequestIdReused,
    SourceInvalid,
    StoreUnavailable,
    VersionMismatch,
    VersionNotFound,
    VestryError,
    Violation,
)
from vestryd.domain.failpoints import reach
from vestryd.domain.jsonvalue import Json, canonical, checksum
from vestryd.domain.layers import Folded, Layer, fold
from vestryd.domain.patch import diff
from vestryd.domain.schema.schema import Schema
from vestryd.domain.store import ABSENT, MAX_VALUE_BYTES, Commit, Store
from vestryd.domain.versions import (
    Answered,
    Cause,
    Head,
    Ingested,
    Slot,
    Version,
    head_key,
    request_key,
    schema_key,
    version_key,
)

CONFLICT_ATTEMPTS = 16  # so often may another instance win the race for a document before the caller hears of it


@dataclass(frozen=True, slots=True)
class Contents:
    """What a proposal starts from and ends with: the layers, and the schema when the document brings its own."""

    layers: Mapping[Layer, Json] = field(default_factory=dict)
    schema: Schema | None = None


Edit = Callable[[Contents], Contents]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that somebody wants.

    `edit` turns the contents in force into the wanted ones; it is pure, since it runs again when another writer was
    faster. `ingested` and `files` are set by a change that comes from files. `create` allows the document to be new.
    `request_id` makes the proposal safe to repeat; `fingerprint` then tells a repetition from a different request.
    `call_id` is kept with the version that it makes.
    """

    kind: str
    name: str
    edit: Edit
    author: str
    message: str
    cause: Cause
    create: bool = False
    expected_version: int | None = None
    dry_run: bool = False
    request_id: str = ""
    fingerprint: str = ""
    call_id: str = ""
    rollback_of: int = 0
    ingested: Mapping[Slot, Ingested] = field(default_factory=dict)
    files: Mapping[Layer, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal: the version in force (on a dry run: that would be), and what it changed, after RFC 6902."""

    version: int
    changed: bool
    patch: list[dict[str, Json]]
    revision: int


class Proposals:
    """Where every change begins, whoever wants it. Lives as long as the daemon."""

    def __init__(self, documents: Documents, store: Store, clock: Clock) -> None:
        self._documents = documents
        self._store = store
        self._clock = clock
        # (kind, name) -> the lock of a document that is being changed
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def propose(self, proposal: Proposal) -> Outcome:
        """Carry a proposal down the road, and return once readers here see it.

        Raises DocumentNotFound, VersionMismatch, DocumentInvalid, LimitExceeded, RequestIdReused, StoreUnavailable; what
        was in force stays in force then. A proposal whose request_id was answered before gets that answer again.
        """
        try:
            async with self._locks.setdefault((proposal.kind, proposal.name), asyncio.Lock()):
                return await self._attempt(proposal)
        except VestryError:
            answer = await self._answer_of_before(proposal)
            if answer is None:
                raise
            return answer

    def check(self, kind: str, name: str, contents: Contents, files: Mapping[Layer, str]) -> tuple[Folded, Any]:
        """Return the contents folded and compiled, or raise DocumentInvalid.

        `files` lets a violation name the file that it comes from.
        """
        folded = fold(contents.layers)
        try:
            return folded, self._documents.kinds[kind].evaluate(name, folded.effective, contents.schema)
        except SourceInvalid as error:
            placed = tuple(replace(one, file=_file_of(one, folded, files)) for one in error.violations)
            raise DocumentInvalid(kind, name, placed) from error

    async def _attempt(self, proposal: Proposal) -> Outcome:
        for _ in range(CONFLICT_ATTEMPTS):
            try:
                return await self._try_once(proposal)
            except Conflict as error:
                if error.key != head_key(proposal.kind, proposal.name):
                    raise RequestIdReused(proposal.request_id) from error
                await self._documents.until(error.actual)
        name = f"{proposal.kind} {proposal.name!r}"
        raise StoreUnavailable(f"{CONFLICT_ATTEMPTS} times running, another writer of {name} was faster")

    async def _try_once(self, proposal: Proposal) -> Outcome:
        current = self._documents.find(proposal.kind, proposal.name)
        _check_expectations(proposal, current)
        wanted = self._prepare(proposal, current)
        number = wanted.version.number
        changed = current is None or number != current.version.number
        patch = diff(current.version.effective if current else self._initial(proposal), wanted.version.effective)
        commit = self._commit_for(proposal, current, wanted)
        if commit is None or proposal.dry_run:
            return Outcome(number, changed, patch, self._documents.revision)
        record = commit.puts.get(version_key(proposal.kind, proposal.name, number), b"")
        forget = self._documents.prepare(record, wanted)
        try:
            reach(f"{proposal.kind}.{proposal.name}.before_commit")
            revision = await self._store.commit(commit)
            reach(f"{proposal.kind}.{proposal.name}.after_commit")
            await self._documents.until(revision)
        finally:
            forget()
        return Outcome(number, changed, patch, revision)

    def _prepare(self, proposal: Proposal, current: Document | None) -> Document:
        """Return the document that the proposal leads to, validated; with the current version if it changes nothing."""
        before = Contents(current.version.layers, current.schema) if current else Contents()
        after = proposal.edit(before)
        head = current.head if current else Head(0, 1, {})
        head = replace(head, ingested={**head.ingested, **proposal.ingested})
        changed = tuple(one for one in Layer if not _same(before.layers.get(one), after.layers.get(one)))
        schema_checksum = after.schema.checksum if after.schema else ""
        if current and not changed and schema_checksum == current.version.schema:
            return replace(current, head=head)
        files = {**(current.version.files if current else {}), **proposal.files}
        files = {layer: file for layer, file in files.items() if layer in after.layers}
        folded, compiled = self.check(proposal.kind, proposal.name, after, files)
        encoded = canonical(folded.effective)
        version = Version(
            number=head.version + 1,
            layers=after.layers,
            folded=folded,
            checksum=checksum(encoded),
            schema=schema_checksum,
            author=proposal.author,
            message=proposal.message,
            create_time=self._clock.now(),
            cause=proposal.cause,
            changed_layers=changed,
            rollback_of=proposal.rollback_of,
            files=files,
            call_id=proposal.call_id,
        )
        return Document(
            kind=proposal.kind,
            name=proposal.name,
            version=version,
            encoded=encoded,
            schema=after.schema,
            compiled=compiled,
            head=replace(head, version=version.number),
            revision=0,
            head_revision=0,
        )

    def _commit_for(self, proposal: Proposal, current: Document | None, wanted: Document) -> Commit | None:
        kind, name, number = wanted.kind, wanted.name, wanted.version.number
        expect = {head_key(kind, name): current.head_revision if current else ABSENT}
        puts: dict[str, bytes] = {}
        changed = current is None or number != current.version.number
        if current is None or wanted.head != current.head:
            puts[head_key(kind, name)] = wanted.head.encode()
        if changed:
            puts[version_key(kind, name, number)] = record = wanted.version.encode()
            if len(record) > MAX_VALUE_BYTES:
                raise LimitExceeded(f"{kind} {name!r} with all its layers, in bytes,", MAX_VALUE_BYTES, len(record))
        if wanted.schema and (current is None or wanted.version.schema != current.version.schema):
            puts[schema_key(kind, name, wanted.version.schema)] = canonical(wanted.schema.document)
        if proposal.request_id:
            expect[request_key(proposal.request_id)] = ABSENT
            answer = Answered(proposal.fingerprint, number, changed, self._clock.now())
            puts[request_key(proposal.request_id)] = answer.encode()
        return Commit(expect=expect, puts=puts) if puts else None

    async def _answer_of_before(self, proposal: Proposal) -> Outcome | None:
        if not proposal.request_id:
            return None
        found = await self._store.read(request_key(proposal.request_id))
        if not found.entries:
            return None
        answered = Answered.decode(found.entries[0].value)
        if answered.fingerprint != proposal.fingerprint:
            raise RequestIdReused(proposal.request_id)
        patch = await self._patch_of(proposal, answered) if answered.changed else []
        return Outcome(answered.version, answered.changed, patch, found.entries[0].mod_revision)

    async def _patch_of(self, proposal: Proposal, answered: Answered) -> list[dict[str, Json]]:
        try:
            after = await self._effective(proposal, answered.version)
            return diff(await self._effective(proposal, answered.version - 1), after)
        except VersionNotFound:
            return []  # forgotten meanwhile: that it was done matters more than what it was

    async def _effective(self, proposal: Proposal, number: int) -> Json:
        """Return what was in force at a version, or before the first one. Raises VersionNotFound."""
        if number == 0:
            return self._initial(proposal)
        version, _ = await self._documents.version(proposal.kind, proposal.name, number)
        return version.effective

    def _initial(self, proposal: Proposal) -> Json:
        return self._documents.kinds[proposal.kind].initial


def _check_expectations(proposal: Proposal, current: Document | None) -> None:
    if current is None and not proposal.create:
        raise DocumentNotFound(proposal.kind, proposal.name)
    actual = current.version.number if current else 0
    if proposal.expected_version is not None and proposal.expected_version != actual:
        raise VersionMismatch(proposal.kind, proposal.name, proposal.expected_version, actual)


def _same(before: Json, after: Json) -> bool:
    """Compare as JSON: Python's == takes 1 for true and for 1.0."""
    return before is after or canonical(before) == canonical(after)


def _file_of(violation: Violation, folded: Folded, files: Mapping[Layer, str]) -> str:
    """Return the file of the layer that had the last word at or below the violation's place."""
    below = violation.pointer + "/"
    layers = [
        layer
        for pointer, layer in folded.provenance.items()
        if pointer == violation.pointer or pointer.startswith(below)
    ]
    return files.get(max(layers), "") if layers else ""
