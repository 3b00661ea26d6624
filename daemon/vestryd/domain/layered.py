"""What all layered documents have in common: their versions can be compared, and their runtime layers changed."""

from __future__ import annotations

from dataclasses import dataclass

from vestryd.domain.documents import Documents
from vestryd.domain.errors import DocumentInvalid, InvalidField, Violation
from vestryd.domain.jsonvalue import Json
from vestryd.domain.layers import Layer, merge_patch
from vestryd.domain.patch import diff
from vestryd.domain.proposals import Contents, Edit, Outcome, Proposal, Proposals
from vestryd.domain.versions import Cause, Version

MAX_VIOLATIONS = 100


@dataclass(frozen=True, slots=True)
class Write:
    """What every write says beside the change itself; the fields are explained at `Proposal`."""

    author: str
    message: str = ""
    expected_version: int | None = None
    dry_run: bool = False
    request_id: str = ""
    fingerprint: str = ""
    call_id: str = ""


class Layered:
    """The documents of one kind, for as long as the daemon lives. With `create`, the first write makes a document."""

    def __init__(self, kind: str, documents: Documents, proposals: Proposals, *, create: bool = False) -> None:
        self._kind = documents.kinds[kind]
        self._documents = documents
        self._proposals = proposals
        self._create = create

    @property
    def revision(self) -> int:
        """The store's revision that reads are true at."""
        return self._documents.revision

    async def version(self, name: str, number: int) -> tuple[Version, int]:
        """Return one version and its revision; `number` 0 means the current one. Raises VersionNotFound."""
        return await self._documents.version(self._kind.name, name, number)

    async def versions(self, name: str, *, newest: int, limit: int) -> list[tuple[Version, int]]:
        """Return up to `limit` versions and their revisions, from number `newest` downwards."""
        return await self._documents.versions(self._kind.name, name, newest=newest, limit=limit)

    async def diff(self, name: str, start: int, end: int) -> tuple[Version, Version, list[dict[str, Json]]]:
        """Return two versions and what changed between their effective documents, after RFC 6902."""
        before, _ = await self.version(name, start)
        after, _ = await self.version(name, end)
        return before, after, diff(before.effective, after.effective)

    def validate(self, name: str, layer: Layer | None, content: Json) -> tuple[Violation, ...]:
        """Return what would be wrong with a document whose layer (None: the whole of which) is `content`."""
        document = self._documents.find(self._kind.name, name)
        version = document.version if document else None
        layers = {**(version.layers if version else {}), layer: content} if layer else {Layer.DEFAULT: content}
        in_files = version.files if version and layer else {}
        files = {one: file for one, file in in_files.items() if one is not layer}
        try:
            contents = Contents(layers, document.schema if document else None)
            self._proposals.check(self._kind.name, name, contents, files)
        except DocumentInvalid as error:
            return error.violations[:MAX_VIOLATIONS]
        return ()

    async def patch(self, name: str, patch: Json, write: Write) -> Outcome:
        """Apply an RFC 7396 merge patch to the runtime layer; that of a new document begins as what was in force."""

        def edit(before: Contents) -> Contents:
            runtime = before.layers.get(Layer.RUNTIME, {}) if before.layers else self._kind.initial
            return with_runtime(before, merge_patch(runtime, patch))

        return await self.write(name, edit, write, Cause.UPDATE)

    async def replace(self, name: str, content: Json, write: Write) -> Outcome:
        """Replace the runtime layer."""
        return await self.write(name, lambda before: with_runtime(before, content), write, Cause.UPDATE)

    async def rollback(self, name: str, number: int, write: Write) -> Outcome:
        """Make a new version with the layers of version `number`; the schema stays today's. Raises VersionNotFound."""
        if number < 1:
            raise InvalidField("version", "name the version to go back to, 1 or more")
        version, _ = await self.version(name, number)

        def edit(before: Contents) -> Contents:
            return Contents(version.layers, before.schema)

        return await self.write(name, edit, write, Cause.ROLLBACK, rollback_of=number)

    async def write(self, name: str, edit: Edit, write: Write, cause: Cause, *, rollback_of: int = 0) -> Outcome:
        """Propose an edit of the contents in force."""
        proposal = Proposal(
            kind=self._kind.name,
            name=name,
            edit=edit,
            author=write.author,
            message=write.message,
            cause=cause,
            create=self._create,
            expected_version=write.expected_version,
            dry_run=write.dry_run,
            request_id="" if write.dry_run else write.request_id,
            fingerprint=write.fingerprint,
            call_id=write.call_id,
            rollback_of=rollback_of,
        )
        return await self._proposals.propose(proposal)


def with_runtime(before: Contents, runtime: Json) -> Contents:
    """Return contents with another runtime layer; an empty one is none."""
    layers = {**before.layers, Layer.RUNTIME: runtime}
    if runtime == {}:
        del layers[Layer.RUNTIME]
    return Contents(layers, before.schema)
