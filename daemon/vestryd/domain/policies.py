"""The access policy as a document: its versions, and the changes of its runtime layer."""

from __future__ import annotations

from vestryd.domain.access import KIND, NAME
from vestryd.domain.documents import Document, Documents
from vestryd.domain.errors import VersionNotFound, Violation
from vestryd.domain.ingest import Ingestion
from vestryd.domain.jsonvalue import Json
from vestryd.domain.layered import Layered, Write
from vestryd.domain.layers import Layer
from vestryd.domain.policy.policy import BUILT_IN
from vestryd.domain.proposals import Contents, Outcome, Proposals
from vestryd.domain.versions import Cause, Version


class Policies:
    """The policy's document, for as long as the daemon lives.

    While there is none the built-in policy is in force, and the first change begins with it. Every change is refused with
    DocumentInvalid that can't be understood, or under which nobody could change the policy any more.
    """

    def __init__(self, documents: Documents, proposals: Proposals, ingestion: Ingestion) -> None:
        self.ingestion = ingestion
        self._documents = documents
        self._layered = Layered(KIND, documents, proposals, create=True)

    @property
    def revision(self) -> int:
        """The store's revision that reads are true at."""
        return self._layered.revision

    def find(self) -> Document | None:
        """Return the document, None while the built-in policy is in force."""
        return self._documents.find(KIND, NAME)

    async def version(self, number: int) -> tuple[Version, int]:
        """Return one version and its revision; `number` 0 means the current one. Raises VersionNotFound."""
        self._check_version(number)
        return await self._layered.version(NAME, number)

    async def versions(self, *, newest: int, limit: int) -> list[tuple[Version, int]]:
        """Return up to `limit` versions and their revisions, from number `newest` downwards."""
        return await self._layered.versions(NAME, newest=newest, limit=limit) if self.find() else []

    async def diff(self, start: int, end: int) -> tuple[Version, Version, list[dict[str, Json]]]:
        """Return two versions and what changed between them, after RFC 6902. Raises VersionNotFound."""
        self._check_version(start)
        return await self._layered.diff(NAME, start, end)

    def validate(self, layer: Layer | None, content: Json) -> tuple[Violation, ...]:
        """Return what would be wrong with a policy whose layer (None: the whole of which) is `content`."""
        return self._layered.validate(NAME, layer, content)

    async def patch(self, patch: Json, write: Write) -> Outcome:
        """Apply an RFC 7396 merge patch to the runtime layer."""
        return await self._layered.patch(NAME, patch, write)

    async def replace(self, content: Json, write: Write) -> Outcome:
        """Replace the runtime layer."""
        return await self._layered.replace(NAME, content, write)

    async def rollback(self, number: int, write: Write) -> Outcome:
        """Make a new version with the layers of version `number`. Raises VersionNotFound."""
        if number > 0:
            self._check_version(number)
        return await self._layered.rollback(NAME, number, write)

    def _check_version(self, number: int) -> None:
        if self.find() is None:
            raise VersionNotFound(KIND, NAME, number, 0, 0)


async def recover(documents: Documents, proposals: Proposals, write: Write) -> Outcome:
    """Make a new version that is the built-in policy, as its runtime layer, whatever was in force.

    The files stay as they are taken in: they count again once somebody edits them.
    """
    built_in = Contents({Layer.RUNTIME: BUILT_IN})
    layered = Layered(KIND, documents, proposals, create=True)
    return await layered.write(NAME, lambda _before: built_in, write, Cause.UPDATE)
