"""AdminService: the daemon itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vestry.v1 import admin_pb2 as pb
from vestry.v1 import common_pb2 as common
from vestryd.domain.audit import AuditLog, Entry
from vestryd.domain.config import Configs
from vestryd.domain.errors import BackupUnsupported
from vestryd.domain.secrets.secrets import SecretFigures
from vestryd.domain.store import BackupSource, Store
from vestryd.services.call import Call
from vestryd.services.common_messages import timestamp
from vestryd.services.pipeline import Route

CHUNK_BYTES = 64 * 1024
SCRATCH_PREFIX = "backup-"  # of a directory that lives for one backup


@dataclass(frozen=True, slots=True)
class Daemon:
    """What doesn't change while the daemon runs. `scratch` is a directory for files that live for one call."""

    version: str
    environment: str
    start_time: datetime
    scratch: Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that an administrator should look at."""

    component: str
    message: str
    since: datetime


class AdminService:
    """Answers AdminService. Lives as long as the daemon serves.

    `routes`, `listeners` and `problems` are asked at each call, since they are known only once the daemon serves; `secrets`
    has no figures while they are sealed.
    """

    service = "vestry.v1.AdminService"

    def __init__(
        self,
        daemon: Daemon,
        *,
        store: Store,
        configs: Configs,
        audit: AuditLog,
        secrets: Callable[[], SecretFigures | None],
        watchers: Callable[[], int],
        listeners: Callable[[], Sequence[str]],
        problems: Callable[[], Iterable[Problem]],
        routes: Callable[[], Mapping[str, Route]],
    ) -> None:
        self._daemon = daemon
        self._store = store
        self._configs = configs
        self._audit = audit
        self._secrets = secrets
        self._watchers = watchers
        self._listeners = listeners
        self._problems = problems
        self._routes = routes

    async def get_status(self, _request: pb.GetStatusRequest, _call: Call) -> pb.GetStatusResponse:
        """Tell what runs here and how it does."""
        figures, secrets = await self._store.figures(), self._secrets()
        return pb.GetStatusResponse(
            version=self._daemon.version,
            environment=self._daemon.environment,
            start_time=timestamp(self._daemon.start_time),
            revision=self._revision(self._configs.revision),
            store=figures.kind,
            store_bytes=figures.disk_bytes,
            listeners=self._listeners(),
            namespaces=len(self._configs.all()),
            watchers=self._watchers(),
            problems=[
                pb.Problem(component=one.component, message=one.message, since_time=timestamp(one.since))
                for one in self._problems()
            ],
            process_id=os.getpid(),
            secrets=_secret_figures(secrets) if secrets else None,
            methods=[_figures(route) for route in self._routes().values() if _was_called(route)],
        )

    async def create_backup(
        self, _request: pb.CreateBackupRequest, call: Call
    ) -> AsyncGenerator[pb.CreateBackupResponse, None]:
        """Copy the store to a file of our own, and stream that: a slow reader holds nothing up.

        It is recorded before anything is sent: no copy of everything leaves without a trace.
        """
        if not isinstance(self._store, BackupSource):
            raise BackupUnsupported((await self._store.figures()).kind)
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=self._daemon.scratch) as directory:
            path = Path(directory) / "store"
            revision = await self._store.backup(str(path))
            size = path.stat().st_size
            call.facts.update(revision=revision, bytes=size)
            facts = {"backup_revision": revision, "bytes": size}
            await self._audit.record(
                Entry(call.caller.name, "admin.backup", "daemon", request_id=call.request_id, facts=facts)
            )
            first = pb.CreateBackupResponse(revision=self._revision(revision), total_bytes=size)
            with path.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    first.chunk = chunk
                    yield first
                    first = pb.CreateBackupResponse()

    def _revision(self, revision: int) -> common.StoreRevision:
        return common.StoreRevision(
            store_id=self._store.store_id, incarnation=self._store.incarnation, revision=revision
        )


def _was_called(route: Route) -> bool:
    return route.figures.calls > 0 or route.figures.in_flight > 0


def _secret_figures(figures: SecretFigures) -> pb.SecretFigures:
    return pb.SecretFigures(
        secrets=figures.secrets,
        versions=figures.versions,
        due=figures.due,
        overdue=figures.overdue,
        damaged=figures.damaged,
    )


def _figures(route: Route) -> pb.MethodFigures:
    figures = route.figures
    return pb.MethodFigures(
        method=route.method.path,
        calls=figures.calls,
        failures=figures.failures,
        in_flight=figures.in_flight,
        mean_seconds=figures.seconds / figures.calls if figures.calls else 0.0,
    )
