"""The life of the daemon: start, serve, stop."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager

import structlog

from vestry._version import __version__
from vestryd.assembly import Core, Wire, open_audit_log, open_store, problems
from vestryd.assembly.document_log import log_applied, log_rejected
from vestryd.domain import config
from vestryd.domain.audit import DAEMON, AuditLog
from vestryd.domain.documents import Document
from vestryd.domain.errors import StoreUnavailable, VestryError
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.ingest import Ingestion, Rejection, Reloaded
from vestryd.domain.layers import Layer
from vestryd.domain.secrets.transfer import ImportConflict
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.host.environment import secrets_from
from vestryd.host.exposure import exposures
from vestryd.host.inotify import TreeWatcher, Trigger
from vestryd.host.memory import protect
from vestryd.host.sdnotify import Notifier
from vestryd.host.signals import Signals
from vestryd.host.unlocking import UnlockSources
from vestryd.services.admin import SCRATCH_PREFIX
from vestryd.settings import Settings
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.memory import MemoryStore

SWEEP_SECONDS = 60.0
PINGS_PER_WATCHDOG = 3  # so that two late ones are forgiven
ITSELF = Caller(DAEMON, Via.SOCKET, frozenset({LOCAL_ADMINISTRATOR}))  # as a caller, when it acts on its own behalf
LAST_RECORDS_SECONDS = 0.5  # for what is not in the audit log yet when the daemon stops

log = structlog.get_logger("vestryd")


async def serve(settings: Settings, notifier: Notifier) -> None:
    """Be the daemon until a signal asks to stop. Raises StoreUnusable, RecordDamaged, AddressUnusable."""
    signals = Signals()
    for problem in protect():
        log.warning("memory.unprotected", problem=problem)
    store = await open_store(settings)
    for left_behind in settings.state_directory.glob(f"{SCRATCH_PREFIX}*"):  # by a daemon that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    try:
        audit = await open_audit_log(settings, store)
        try:
            await Life(settings, store, audit, notifier).run(signals)
        finally:
            await audit.close()
    finally:
        await store.close()
    log.info("vestryd.stopped")


async def check(settings: Settings) -> tuple[list[str], bool]:
    """Return everything that is wrong with the configuration tree, and whether the environment has a file in it.

    The tree is taken in by a daemon that nobody can reach.
    """
    store = MemoryStore()
    core = Core(settings, store, MemoryAuditLog(store.store_id, clock=SystemClock()))
    await core.documents.load()
    async with asyncio.TaskGroup() as group, _cancelled(group) as owned:
        owned(core.documents.follow())
        for ingestion in core.ingestions:
            await ingestion.reload()
    await store.close()
    found = [f"{path}: {problem}" for one in core.ingestions for path, problem in one.source_problems]
    rejections = [rejection for one in core.ingestions for rejection in one.rejections().values()]
    found += [str(violation) for rejection in rejections for violation in rejection.violations]
    if not found and not core.configs.all():
        found.append(f"{settings.config.directory}: there is no configuration here: write default.json, at least")
    return found, any(Layer.ENVIRONMENT in one.version.layers for one in core.configs.all())


class Life:
    """One run of the daemon over its open store and audit log."""

    def __init__(self, settings: Settings, store: Store, audit: AuditLog, notifier: Notifier) -> None:
        self._settings = settings
        self._notifier = notifier
        self._store = store
        self._core = Core(settings, store, audit)
        self._unlock = UnlockSources(settings.secrets.unlock_key_file, settings.state_directory, os.environ)
        self._not_imported: list[str] = []  # secrets that the environment has, and why they were not taken in

    async def run(self, signals: Signals) -> None:
        """Serve until a signal asks to stop. The first task that fails stops all, and its error is raised."""
        core = self._core
        await core.documents.load()
        for problem in core.access.problems():
            log.warning("access.not_understood", problem=problem)
        await core.tokens.load()
        await self._open_secrets()
        for problem in exposures(self._settings.state_directory, self._settings.config.directory):
            log.warning("files.exposed", problem=problem)
        async with _ungrouped(), asyncio.TaskGroup() as group, _cancelled(group) as owned:
            for follower in (core.documents, core.tokens, core.secrets):
                owned(follower.follow())
            owned(core.auditor.run())
            wire = Wire(self._settings, self._store, core, self._unlock, troubles=self._troubles)
            self._tell_of_changes(wire)
            watcher = TreeWatcher(
                self._settings.config.directory,
                debounce_seconds=self._settings.config.debounce_milliseconds / 1000,
                poll_seconds=self._settings.config.poll_seconds,
            )
            await self._reload(force=True)
            await self._import_secrets()
            try:
                await self._start(wire)
                owned(wire.pipeline.live.run())
                owned(core.secrets.run_rotations())
                owned(core.secrets.run_rewrap())
                owned(self._follow_files(watcher))
                owned(self._follow_reloads(signals))
                owned(self._sweep())
                owned(self._ping_watchdog())
                await signals.stop.wait()
            finally:
                watcher.close()
                await self._stop(wire)

    async def _open_secrets(self) -> None:
        """Unseal, as far as the daemon itself can."""
        if await self._core.vault.is_fresh():
            await asyncio.to_thread(self._unlock.create_default)
        await self._core.secrets.open(await asyncio.to_thread(self._unlock.materials))
        for problem in self._unlock.problems():
            log.warning("secrets.unlock_source_unusable", problem=problem)
        why_sealed = self._core.vault.why_sealed
        if why_sealed:
            log.warning("secrets.sealed", problem=why_sealed.problem, remedy=why_sealed.remedy)
        else:
            log.info("secrets.opened", slot=self._core.vault.slot_id, secrets=self._core.secrets.figures().secrets)
            for problem in self._core.secrets.problems():
                log.warning("secrets.problem", problem=problem)

    async def _import_secrets(self) -> None:
        """Take in what the daemon's environment holds for the secrets."""
        found = secrets_from(self._settings.secrets.from_environment, os.environ)
        self._not_imported = list(found.problems)
        for namespace, items in found.batches:
            try:
                await self._core.secrets.import_(ITSELF, namespace, items, conflict=ImportConflict.REPLACE)
            except VestryError as error:  # whatever it is, nobody is served worse for it
                self._not_imported.append(f"namespace {namespace}, from the environment: {error}")
        for problem in self._not_imported:
            log.warning("secrets.not_imported", problem=problem, setting="secrets.from_environment")

    def _troubles(self) -> Iterator[tuple[str, str]]:
        """Yield what an administrator should look at on this machine: (component, message)."""
        for message in (*self._unlock.problems(), *self._unlock.warnings(), *self._not_imported):
            yield "secrets", message
        for message in exposures(self._settings.state_directory, self._settings.config.directory):
            yield "files", message

    async def _start(self, wire: Wire) -> None:
        await wire.start()
        wire.server.ready()
        log.info(
            "vestryd.ready",
            version=__version__,
            environment=self._settings.environment,
            listeners=wire.server.listeners,
            namespaces=len(self._core.configs.all()),
            revision=self._core.documents.revision,
        )
        self._notifier.ready(self._status())

    async def _stop(self, wire: Wire) -> None:
        log.info("vestryd.stopping")
        self._notifier.stopping()
        await wire.stop(self._settings.limits.drain_seconds)
        await self._core.auditor.finish(LAST_RECORDS_SECONDS)

    def _tell_of_changes(self, wire: Wire) -> None:
        def applied(revision: int, documents: Sequence[Document]) -> None:
            configs = [document for document in documents if document.kind == config.KIND]
            if configs:
                wire.publisher.applied(revision, configs)
            if len(configs) < len(documents):  # the policy is among them
                wire.pipeline.live.changed()
            for document in documents:
                log_applied(document)

        self._core.documents.on_applied = applied
        for ingestion in self._core.ingestions:
            self._tell_of_files(ingestion, wire)

    def _tell_of_files(self, ingestion: Ingestion, wire: Wire) -> None:
        kind = ingestion.kind
        is_config = kind == config.KIND

        def rejected(name: str, rejection: Rejection) -> None:
            if is_config:
                wire.publisher.rejected(name, rejection)
            self._core.auditor.rejected(kind, name, rejection)
            log_rejected(kind, name, self._core.documents.find(kind, name), rejection)
            self._notifier.status(self._status())

        def reloaded(one: Reloaded) -> None:
            if is_config:
                wire.publisher.reloaded(one)
            if one.ended_rejection:
                log.info("document.accepted", kind=kind, name=one.name, version_in_force=one.version)
            self._notifier.status(self._status())

        ingestion.on_rejected = rejected
        ingestion.on_reloaded = reloaded

    async def _follow_files(self, watcher: TreeWatcher) -> None:
        async for trigger in watcher:
            await self._reload(force=trigger is Trigger.EVENTS)

    async def _follow_reloads(self, signals: Signals) -> None:
        while True:
            await signals.reload.wait()
            signals.reload.clear()
            self._notifier.reloading()
            try:
                await self._reload(force=True)
            finally:  # systemd waits for it for ever
                self._notifier.ready(self._status())

    async def _reload(self, *, force: bool) -> None:
        for ingestion in self._core.ingestions:
            before = ingestion.source_problems
            try:
                await ingestion.reload(force=force)
            except StoreUnavailable as error:
                remedy = "it is tried again at the next change or poll"
                log.warning("files.reload_failed", kind=ingestion.kind, error=str(error), remedy=remedy)
            for path, problem in set(ingestion.source_problems) - set(before):
                log.warning("files.misplaced", kind=ingestion.kind, path=path, problem=problem)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._core.retention.sweep()
                await self._core.tokens.sweep()
            except StoreUnavailable as error:
                log.warning("history.sweep_failed", error=str(error), remedy="it is tried again in a minute")

    async def _ping_watchdog(self) -> None:
        """Give signs of life from the loop that does the work: a blocked loop gives none."""
        while self._notifier.watchdog_seconds:
            self._notifier.watchdog()
            await asyncio.sleep(self._notifier.watchdog_seconds / PINGS_PER_WATCHDOG)

    def _status(self) -> str:
        namespaces = len(self._core.configs.all())
        text = f"serving {namespaces} namespace{'' if namespaces == 1 else 's'}"
        found = list(problems(self._core))
        return f"{text}; {found[0].component}: {found[0].message}" if found else text


@asynccontextmanager
async def _cancelled(group: asyncio.TaskGroup) -> AsyncIterator[Callable[[Coroutine[None, None, None]], None]]:
    """Cancel the tasks that were made through this when the block ends: they run for ever otherwise."""
    tasks: list[asyncio.Task[None]] = []

    def own(work: Coroutine[None, None, None]) -> None:
        tasks.append(group.create_task(work))

    try:
        yield own
    finally:
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _ungrouped() -> AsyncIterator[None]:
    """Raise the first error of a group in the group's place."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
