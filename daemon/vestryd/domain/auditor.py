"""Writes down what happens to documents and to the daemon.

The store's own watch tells of changes, and the audit log itself of how far it has come: so a change that the daemon could not
record, because the log's disk was full or the daemon was killed, is recorded as soon as it can be. The log tells of a change
once, in the order of revisions; where the store has forgotten what to tell, it says so (`audit.gap`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime

from vestry.audit_record import Fact, Outcome, Record
from vestryd.domain import access
from vestryd.domain.audit import DAEMON, AuditLog, Entry
from vestryd.domain.audit_trail import AuditTrail
from vestryd.domain.clock import Clock
from vestryd.domain.denials import Denials
from vestryd.domain.documents import Documents
from vestryd.domain.errors import AuditUnavailable, Compacted, RecordDamaged, StoreUnavailable
from vestryd.domain.identity import Caller
from vestryd.domain.ingest import AUTHOR, Rejection
from vestryd.domain.store import Batch, Store
from vestryd.domain.versions import Cause, Version

VERSIONS = "version/"
MAX_AT_ONCE = 256  # records that share a write
GATHER_SECONDS = 0.05  # in which changes come together: nobody waits for their records, and a crash loses none
BLOCK_RECORDS = 1000
MAX_UNTOLD_REVISIONS = 1000  # without a record that says how far the log has come; the store keeps 10 000 by default
RETRY_SECONDS = 5.0

VERBS: Mapping[Cause, str] = {Cause.FILE: "reload", Cause.UPDATE: "update", Cause.ROLLBACK: "rollback"}


class Auditor:
    """Keeps the audit log true to the store. Lives from the loading of the documents until `finish`.

    `revision` is that up to which the log tells of every change. `troubled_since` is None while the log takes records.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        store: Store,
        documents: Documents,
        clock: Clock,
        facts: Mapping[str, Fact],
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.revision = 0
        self.log = log
        self.start_time = clock.now()
        self.troubled_since: datetime | None = None
        self._clock = clock
        self._store = store
        self._documents = documents
        self._facts = facts  # what the record of the start says of the daemon
        self._retry_seconds = retry_seconds
        self._trail = AuditTrail(log, retry_seconds=retry_seconds)
        self._denials = Denials(self._trail, clock)
        self._has_begun = False
        self._told_revision = 0  # of the newest record that says up to where the log tells of changes
        self._moved = asyncio.Event()
        self._trail_ended = asyncio.Event()

    @property
    def behind(self) -> int:
        """How many revisions of the store, and refusals of files, are not in the log yet."""
        return max(0, self._documents.revision - self.revision) + self._trail.unrecorded

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the log."""
        figures = self.log.figures()
        if figures.problem or self.troubled_since:
            what = figures.problem or "it refuses records"
            yield f"nothing can be recorded: {what}. {self.behind} changes wait, and what must be recorded is refused"

    async def run(self) -> None:
        """Record the daemon's start, then every change, until the store is closed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_trail())
            while True:
                try:
                    return await self._record_changes()
                except (AuditUnavailable, StoreUnavailable):
                    await self._rest()

    async def finish(self, seconds: float) -> None:
        """Record what there is, then the daemon's stop; give up after so many seconds: the next start goes on from there."""
        self._trail.stop()
        with suppress(TimeoutError, AuditUnavailable):
            async with asyncio.timeout(seconds):
                await self._trail_ended.wait()
                while self.revision < self._documents.revision:
                    self._moved.clear()
                    await self._moved.wait()
                await self.log.record(Entry(DAEMON, "daemon.stop", "daemon", facts={"revision": self.revision}))

    def denied(self, caller: Caller, action: str, resource: str) -> None:
        """Record that a caller was refused something; the same refusal once a minute."""
        self._denials.note(caller, action, resource)

    def rejected(self, kind: str, name: str, rejection: Rejection) -> None:
        """Record that the files of a document are refused."""
        first = rejection.violations[0]
        told: dict[str, Fact] = {"file": first.file, "line": first.line, "pointer": first.pointer, "rule": first.rule}
        facts = {name: fact for name, fact in told.items() if fact} | {"violations": len(rejection.violations)}
        self._trail.note(Entry(AUTHOR, f"{kind}.reload", resource(kind, name), Outcome.FAILED, facts=facts))

    async def _run_trail(self) -> None:
        await self._trail.run()
        self._trail_ended.set()

    async def _record_changes(self) -> None:
        """Record what the store commits, until it is closed. Raises AuditUnavailable, StoreUnavailable."""
        if not self._has_begun:
            await self._begin()
        while True:
            try:
                async with aclosing(self._store.watch("", after=self.revision)) as batches:
                    await self._follow(batches)
            except Compacted as error:
                await self.log.record(_gap(self.revision, error.oldest))
                self._reach(error.oldest)
            else:
                return

    async def _begin(self) -> None:
        """Find out how far the log has come, and record the start."""
        told, revision, incarnation = await self._come_so_far()
        facts: dict[str, Fact] = {**self._facts, "incarnation": self._store.incarnation}
        is_other = told and incarnation != self._store.incarnation
        if is_other or revision > self._documents.revision:
            facts |= {"previous_incarnation": incarnation, "previous_revision": revision}
            revision = self._documents.revision
        facts["revision"] = revision
        await self.log.record(Entry(DAEMON, "daemon.start", "daemon", facts=facts))
        self._has_begun = True
        self._told_revision = revision
        self._reach(revision)

    async def _come_so_far(self) -> tuple[bool, int, str]:
        """Return whether the log tells of an earlier start, the revision that it has come to, and the incarnation."""
        revision: int | None = None
        newest = self.log.last_sequence
        while newest > 0:
            block = await self.log.read(after=max(0, newest - BLOCK_RECORDS), limit=min(newest, BLOCK_RECORDS))
            if not block:
                break
            for record in reversed(block):
                if revision is None:
                    revision = _revision(record)
                if record.action == "daemon.start":
                    return True, revision or 0, str(record.facts.get("incarnation", ""))
            newest = block[0].sequence - 1
        return False, revision or 0, ""

    async def _follow(self, batches: AsyncGenerator[Batch, None]) -> None:
        """Record revisions, as many at once as are there, so that they share a write."""
        waiting: list[Entry] = []
        async for batch in batches:
            waiting += self._entries(batch)
            if batch.revision >= self._documents.revision or len(waiting) >= MAX_AT_ONCE:
                await self._record(waiting)
                told, waiting = waiting, []
                self._reach(batch.revision)
                await self._tell_of_revision(told)
                await asyncio.sleep(GATHER_SECONDS)

    async def _tell_of_revision(self, told: Sequence[Entry]) -> None:
        """Let the log know how far it has come, also while nothing changes that it tells of."""
        if told:
            self._told_revision = self.revision
        elif self.revision >= self._told_revision + MAX_UNTOLD_REVISIONS:
            await self.log.record(Entry(DAEMON, "audit.reach", "audit", facts={"revision": self.revision}))
            self._told_revision = self.revision

    async def _record(self, entries: Sequence[Entry]) -> None:
        """Record entries in order; those that the log refuses are tried again until it takes them."""
        while entries:
            results = await asyncio.gather(*map(self.log.record, entries), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, AuditUnavailable):
                    raise result
            entries = [
                entry for entry, result in zip(entries, results, strict=True) if isinstance(result, AuditUnavailable)
            ]
            if entries:
                await self._rest()

    def _entries(self, batch: Batch) -> Iterator[Entry]:
        for key, written in batch.changes.items():
            if key.startswith(VERSIONS) and written is not None:
                _, kind, name, number = key.split("/")
                try:
                    version = self._version(kind, name, int(number), written.value)
                except RecordDamaged:
                    facts: dict[str, Fact] = {"missed": 1, "revision": batch.revision}
                    yield Entry(DAEMON, "audit.gap", resource(kind, name), Outcome.FAILED, facts=facts)
                else:
                    yield _entry(kind, name, version, batch.revision)

    def _version(self, kind: str, name: str, number: int, record: bytes) -> Version:
        document = self._documents.find(kind, name)
        if document and document.version.number == number:
            return document.version  # as a rule: it spares us to parse it once more
        return Version.decode(record, kind, name)

    async def _rest(self) -> None:
        """Wait before the log is tried again."""
        self.troubled_since = self.troubled_since or self._clock.now()
        await asyncio.sleep(self._retry_seconds)

    def _reach(self, revision: int) -> None:
        self.revision = revision
        self.troubled_since = None
        self._moved.set()


def resource(kind: str, name: str) -> str:
    """Return the resource that a document is, as access to it is checked."""
    if kind == access.KIND:
        return access.RESOURCE
    return f"namespaces/{name}/{kind}" if kind == "config" else f"{kind}s/{name}"


def _entry(kind: str, name: str, version: Version, revision: int) -> Entry:
    facts: dict[str, Fact] = {
        "version": version.number,
        "revision": revision,
        "checksum": version.checksum,
        "committed": version.create_time.isoformat(),
        "layers": " ".join(layer.name.lower() for layer in version.changed_layers),
    }
    if version.rollback_of:
        facts["rollback_of"] = version.rollback_of
    if version.message:
        facts["message"] = version.message
    action = f"{kind}.{VERBS[version.cause]}"
    return Entry(version.author, action, resource(kind, name), request_id=version.call_id, facts=facts)


def _gap(after: int, through: int) -> Entry:
    """Return what says that the store has forgotten revisions before the log told of them."""
    return Entry(DAEMON, "audit.gap", "audit", facts={"missed": through - after, "revision": through})


def _revision(record: Record) -> int | None:
    """Return the revision up to which the log told of every change when this was recorded, if the record knows."""
    revision = record.facts.get("revision")
    return revision if isinstance(revision, int) else None
