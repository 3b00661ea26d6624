"""The composition root: builds everything once, in order; runs it; takes it down."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import structlog

from vestry._version import __version__
from vestryd.domain.audit import AuditLog
from vestryd.domain.auditor import Auditor
from vestryd.domain.config import CONFIG, KIND, Configs
from vestryd.domain.documents import Document, Documents
from vestryd.domain.errors import StoreUnavailable, Violation
from vestryd.domain.ingest import Ingestion, Rejection, Reloaded
from vestryd.domain.proposals import Proposals
from vestryd.domain.retention import Limits, Retention
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.host.files import ConfigTree
from vestryd.host.inotify import TreeWatcher, Trigger
from vestryd.host.sdnotify import Notifier
from vestryd.host.signals import Signals
from vestryd.services.admin import SCRATCH_PREFIX, AdminService, Daemon, Problem
from vestryd.services.audit import AuditService
from vestryd.services.config import ConfigService
from vestryd.services.config_feed import ConfigPublisher, ConfigSource
from vestryd.services.feed import Feed
from vestryd.services.methods import table
from vestryd.services.pipeline import Pipeline, Route, bind
from vestryd.settings import Settings
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_ledger import Limits as AuditLimits
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.memory import MemoryStore
from vestryd.stores.sqlite import SqliteStore
from vestryd.transports.aio import AioServer, UnixSocket

SWEEP_SECONDS = 60.0
PINGS_PER_WATCHDOG = 3  # so that two late ones are forgiven
LAST_RECORDS_SECONDS = 2.0  # for what is not in the audit log yet when the daemon stops
MIB = 1024 * 1024
DAY_SECONDS = 86_400

log = structlog.get_logger("vestryd")


class Core:
    """What Vestry means, over an open store: the domain and the files, without a wire."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.clock = SystemClock()
        self.documents = Documents(store, [CONFIG])
        self.proposals = Proposals(self.documents, store, self.clock)
        self.tree = ConfigTree(settings.config.directory, settings.environment)
        self.ingestion = Ingestion(
            KIND, documents=self.documents, proposals=self.proposals, sources=self.tree, clock=self.clock
        )
        self.configs = Configs(self.documents, self.proposals, self.ingestion)
        keep = Limits(settings.history.versions, timedelta(days=settings.history.days))
        self.retention = Retention(self.documents, store, self.clock, keep)


class Wire:
    """What callers reach, over a core that has loaded: the services, their feed, and the transport."""

    def __init__(self, settings: Settings, store: Store, core: Core, auditor: Auditor) -> None:
        self.routes: dict[str, Route] = {}
        source = ConfigSource(core.configs)
        self.feed = Feed(
            source,
            incarnation=store.incarnation,
            revision=core.documents.revision,
            heartbeat_seconds=settings.watch.heartbeat_seconds,
            window_events=settings.watch.window_events,
            window_bytes=settings.watch.window_mebibytes * MIB,
        )
        self.publisher = ConfigPublisher(self.feed, source, core.configs)
        self.admin = AdminService(
            Daemon(__version__, settings.environment, core.clock.now(), settings.state_directory),
            store=store,
            configs=core.configs,
            audit=auditor.log,
            watchers=lambda: self.feed.watchers,
            listeners=lambda: self.server.listeners,
            problems=lambda: (*problems(core, auditor), *chores(auditor)),
            routes=lambda: self.routes,
        )
        config = ConfigService(core.configs, self.feed, store=store, environment=settings.environment)
        self.audit = AuditService(auditor.log, heartbeat_seconds=settings.watch.heartbeat_seconds)
        self.routes = bind(table(), [self.admin, self.audit, config])
        self.server = AioServer(
            Pipeline(self.routes, default_deadline_seconds=settings.limits.deadline_seconds),
            unix=_unix_socket(settings),
            tcp=settings.listen.tcp,
            max_request_bytes=settings.limits.request_bytes,
        )


class Life:
    """The life of a daemon: start, serve, stop."""

    def __init__(self, settings: Settings, store: Store, audit: AuditLog, notifier: Notifier) -> None:
        self._settings = settings
        self._notifier = notifier
        self._store = store
        self._core = Core(settings, store)
        self._auditor = Auditor(
            audit,
            store=store,
            documents=self._core.documents,
            clock=self._core.clock,
            facts={"version": __version__, "environment": settings.environment},
        )
        self._wire: Wire | None = None

    async def run(self, signals: Signals) -> None:
        """Serve until a signal asks to stop. The first task that fails stops all, and its error is raised."""
        await self._core.documents.load()
        async with _ungrouped(), asyncio.TaskGroup() as group, _cancelled(group) as owned:
            owned(self._core.documents.follow())
            owned(self._auditor.run())
            wire = self._wire = Wire(self._settings, self._store, self._core, self._auditor)
            self._tell_of_changes(wire)
            watcher = TreeWatcher(
                self._settings.config.directory,
                debounce_seconds=self._settings.config.debounce_milliseconds / 1000,
                poll_seconds=self._settings.config.poll_seconds,
            )
            await self._reload(force=True)
            try:
                await self._start(wire)
                owned(self._follow_files(watcher))
                owned(self._follow_reloads(signals))
                owned(self._sweep())
                owned(self._ping_watchdog())
                await signals.stop.wait()
            finally:
                watcher.close()
                await self._stop(wire)

    async def _start(self, wire: Wire) -> None:
        await wire.server.start()
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
        wire.feed.close()
        wire.audit.close()
        await wire.server.stop(self._settings.limits.drain_seconds)
        await self._auditor.finish(LAST_RECORDS_SECONDS)

    def _tell_of_changes(self, wire: Wire) -> None:
        def applied(revision: int, documents: Sequence[Document]) -> None:
            wire.publisher.applied(revision, documents)
            for document in documents:
                _log_applied(document)

        def rejected(name: str, rejection: Rejection) -> None:
            wire.publisher.rejected(name, rejection)
            self._auditor.rejected(KIND, name, rejection)
            _log_rejected(name, self._core.configs.find(name), rejection)
            self._notifier.status(self._status())

        def reloaded(one: Reloaded) -> None:
            wire.publisher.reloaded(one)
            self._notifier.status(self._status())

        self._core.documents.on_applied = applied
        self._core.ingestion.on_rejected = rejected
        self._core.ingestion.on_reloaded = reloaded

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
        before = self._core.ingestion.source_problems
        try:
            await self._core.ingestion.reload(force=force)
        except StoreUnavailable as error:
            log.warning("config.reload_failed", error=str(error), remedy="it is tried again at the next change or poll")
        for path, problem in set(self._core.ingestion.source_problems) - set(before):
            log.warning("config.misplaced", path=path, problem=problem)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._core.retention.sweep()
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
        found = list(problems(self._core, self._auditor))
        return f"{text}; {found[0].component}: {found[0].message}" if found else text


async def serve(settings: Settings, notifier: Notifier) -> None:
    """Be the daemon until a signal asks to stop. Raises StoreUnusable, AuditUnusable, AddressUnusable."""
    signals = Signals()
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


async def check(settings: Settings) -> list[str]:
    """Return everything that is wrong with the configuration tree: it is taken in by a daemon that nobody can reach."""
    store = MemoryStore()
    core = Core(settings, store)
    await core.documents.load()
    async with asyncio.TaskGroup() as group, _cancelled(group) as owned:
        owned(core.documents.follow())
        await core.ingestion.reload()
    await store.close()
    found = [f"{path}: {problem}" for path, problem in core.ingestion.source_problems]
    found += [str(one) for rejection in core.ingestion.rejections().values() for one in rejection.violations]
    if not found and not core.configs.all():
        found.append(f"{settings.config.directory}: there is no configuration here: write default.json, at least")
    return found


async def open_store(settings: Settings) -> Store:
    """Open the store that the settings name. Raises StoreUnusable."""
    if settings.store.kind == "memory":
        return MemoryStore(history_revisions=settings.store.history_revisions)
    return await SqliteStore.open(settings.store_path, history_revisions=settings.store.history_revisions)


async def open_audit_log(settings: Settings, store: Store) -> AuditLog:
    """Open the store's audit log, which is kept where the store is: on disk, or in memory. Raises AuditUnusable."""
    if settings.store.kind == "memory":
        return MemoryAuditLog(store.store_id, clock=SystemClock())
    limits = AuditLimits(
        segment_bytes=settings.audit.segment_mebibytes * MIB,
        segment_seconds=settings.audit.segment_days * DAY_SECONDS,
        checkpoint_seconds=settings.audit.checkpoint_seconds,
    )
    return await FileAuditLog.open(settings.audit_directory, store.store_id, clock=SystemClock(), limits=limits)


def problems(core: Core, auditor: Auditor) -> Iterator[Problem]:
    """Yield what an administrator should look at."""
    for name, rejection in core.ingestion.rejections().items():
        first, more = rejection.violations[0], len(rejection.violations) - 1
        message = f"its files are rejected: {first}" + (f", and {more} more" if more else "")
        yield Problem(f"config/{name}", message, rejection.time)
    for path, problem in core.ingestion.source_problems:
        yield Problem("config", f"{path}: {problem}", core.ingestion.problems_since)
    for problem in auditor.problems():
        yield Problem("audit", problem, auditor.troubled_since or core.clock.now())


def chores(auditor: Auditor) -> Iterator[Problem]:
    """Yield what an administrator has yet to do, and systemd need not show all the time."""
    for chore in auditor.chores():
        yield Problem("audit", chore, auditor.start_time)


def _unix_socket(settings: Settings) -> UnixSocket | None:
    listen = settings.listen
    return UnixSocket(Path(listen.unix), listen.unix_mode_bits, listen.unix_group) if listen.unix else None


def _log_applied(document: Document) -> None:
    version = document.version
    facts = {"message": version.message, "rollback_of": version.rollback_of}
    log.info(
        "document.applied",
        kind=document.kind,
        name=document.name,
        version=version.number,
        cause=version.cause.name.lower(),
        author=version.author,
        revision=document.revision,
        **{name: fact for name, fact in facts.items() if fact},
    )


def _log_rejected(name: str, document: Document | None, rejection: Rejection) -> None:
    log.warning(
        "document.rejected",
        kind=KIND,
        name=name,
        version_in_force=document.version.number if document else 0,
        violations=[_told(one) for one in rejection.violations],
    )


def _told(one: Violation) -> dict[str, object]:
    facts = {"file": one.file, "line": one.line, "pointer": one.pointer, "rule": one.rule, "value": one.value}
    return {**{name: fact for name, fact in facts.items() if fact}, "message": one.message}


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
