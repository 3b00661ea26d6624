"""The document engine over a store in memory, for tests: real parts, with time and files handed in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from vestryd.domain.access import KIND as ACCESS
from vestryd.domain.access import Access, access_kind
from vestryd.domain.config import CONFIG, KIND, Configs
from vestryd.domain.documents import Document, Documents
from vestryd.domain.ingest import Ingestion
from vestryd.domain.policies import Policies
from vestryd.domain.policy.actions import Catalogue
from vestryd.domain.proposals import Proposals
from vestryd.domain.sources import SourceFile
from vestryd.domain.store import Store
from vestryd.services.methods import actions, table
from vestryd.stores.memory import MemoryStore

ACTIONS: Catalogue = actions(table().values())
# What a release before secrets could be accessed would know.
FEWER_ACTIONS: Catalogue = {action: shapes for action, shapes in ACTIONS.items() if action != "secrets.access"}


@dataclass
class FakeClock:
    """A clock that moves when it is told to."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **spans: float) -> None:
        self.time += timedelta(**spans)


@dataclass
class FakeSources:
    """Files in memory: namespace, or `policy` -> slot -> content."""

    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"default": {}})
    unreadable: dict[tuple[str, str], str] = field(default_factory=dict)

    def write(self, namespace: str, **slots: Any) -> None:
        """Write files; bytes as they are, None deletes, anything else as JSON."""
        files = self.files.setdefault(namespace, {})
        for slot, content in slots.items():
            if content is None:
                files.pop(slot, None)
            else:
                files[slot] = content if isinstance(content, bytes) else json.dumps(content).encode()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.files))

    def read(self, namespace: str) -> Mapping[str, SourceFile]:
        found = {}
        for slot, content in self.files.get(namespace, {}).items():
            problem = self.unreadable.get((namespace, slot), "")
            found[slot] = SourceFile(self.path_of(namespace, slot), "json", None if problem else content, problem)
        return found

    def path_of(self, namespace: str, slot: str) -> str:
        return f"/etc/vestry/{namespace}/{slot}.json"

    def problems(self) -> tuple[tuple[str, str], ...]:
        return ()


@dataclass
class Engine:
    """Everything that the domain is made of. The policy's files are `policy_sources`."""

    store: Store
    clock: FakeClock
    sources: FakeSources
    documents: Documents
    proposals: Proposals
    ingestion: Ingestion
    configs: Configs
    policy_sources: FakeSources
    policies: Policies
    access: Access
    applied: list[tuple[int, tuple[Document, ...]]] = field(default_factory=list)

    def effective(self, namespace: str = "default") -> Any:
        """Return what readers see."""
        return self.configs.get(namespace).version.effective


def build(
    store: Store,
    sources: FakeSources | None = None,
    clock: FakeClock | None = None,
    known_actions: Catalogue = ACTIONS,
) -> Engine:
    """Put an engine together; `running` makes it live."""
    clock, sources = clock or FakeClock(), sources or FakeSources()
    policy_sources = FakeSources({"policy": {}})
    documents = Documents(store, [CONFIG, access_kind(known_actions)])
    proposals = Proposals(documents, store, clock)
    ingestion = Ingestion(KIND, documents=documents, proposals=proposals, sources=sources, clock=clock)
    taking_policy_in = Ingestion(ACCESS, documents=documents, proposals=proposals, sources=policy_sources, clock=clock)
    engine = Engine(
        store=store,
        clock=clock,
        sources=sources,
        documents=documents,
        proposals=proposals,
        ingestion=ingestion,
        configs=Configs(documents, proposals, ingestion),
        policy_sources=policy_sources,
        policies=Policies(documents, proposals, taking_policy_in),
        access=Access(documents, clock, known_actions),
    )
    documents.on_applied = lambda revision, changed: engine.applied.append((revision, changed))
    return engine


@asynccontextmanager
async def running(
    store: Store | None = None,
    sources: FakeSources | None = None,
    clock: FakeClock | None = None,
    known_actions: Catalogue = ACTIONS,
) -> AsyncIterator[Engine]:
    """Run an engine: it has loaded, and follows its store. A release knows `known_actions`."""
    engine = build(store or MemoryStore(), sources, clock, known_actions)
    await engine.documents.load()
    follower = asyncio.create_task(engine.documents.follow())
    try:
        yield engine
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
