"""The composition root: what the daemon is made of, each part built once, in the order in which it needs the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import structlog

from vestry._version import __version__
from vestryd.domain.audit import AuditLog
from vestryd.domain.auditor import Auditor
from vestryd.domain.config import CONFIG, KIND, Configs
from vestryd.domain.documents import Documents
from vestryd.domain.errors import AuditUnusable
from vestryd.domain.ingest import Ingestion
from vestryd.domain.proposals import Proposals
from vestryd.domain.retention import Limits, Retention
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.host.files import ConfigTree
from vestryd.services.admin import AdminService, Daemon, Problem
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
from vestryd.stores.audit_refused import RefusedAuditLog
from vestryd.stores.memory import MemoryStore
from vestryd.stores.sqlite import SqliteStore
from vestryd.transports.aio import AioServer, UnixSocket

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
            problems=lambda: problems(core, auditor),
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


async def open_store(settings: Settings) -> Store:
    """Open the store that the settings name. Raises StoreUnusable."""
    if settings.store.kind == "memory":
        return MemoryStore(history_revisions=settings.store.history_revisions)
    return await SqliteStore.open(settings.store_path, history_revisions=settings.store.history_revisions)


async def open_audit_log(settings: Settings, store: Store) -> AuditLog:
    """Open the store's audit log, which is kept where the store is: on disk, or in memory.

    One that can't be opened stops only what needs a record, and is a problem until somebody sees to it.
    """
    if settings.store.kind == "memory":
        return MemoryAuditLog(store.store_id, clock=SystemClock())
    limits = AuditLimits(
        segment_bytes=settings.audit.segment_mebibytes * MIB,
        segment_seconds=settings.audit.segment_days * DAY_SECONDS,
        checkpoint_seconds=settings.audit.checkpoint_seconds,
    )
    try:
        return await FileAuditLog.open(settings.audit_directory, store.store_id, clock=SystemClock(), limits=limits)
    except AuditUnusable as error:
        log.critical("audit.unusable", path=error.path, problem=error.problem, remedy=error.remedy)
        return RefusedAuditLog(store.store_id, error)


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


def _unix_socket(settings: Settings) -> UnixSocket | None:
    listen = settings.listen
    return UnixSocket(Path(listen.unix), listen.unix_mode_bits, listen.unix_group) if listen.unix else None
