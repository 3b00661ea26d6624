"""The core: what Vestry means, over an open store and its audit log."""

from __future__ import annotations

from datetime import timedelta

from vestry._version import __version__
from vestryd.domain import access, config
from vestryd.domain.access import Access, access_kind
from vestryd.domain.audit import AuditLog
from vestryd.domain.auditor import Auditor
from vestryd.domain.config import CONFIG, Configs
from vestryd.domain.documents import Documents
from vestryd.domain.ingest import Ingestion
from vestryd.domain.policies import Policies
from vestryd.domain.proposals import Proposals
from vestryd.domain.retention import Limits, Retention
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.sources import Sources
from vestryd.domain.store import Store
from vestryd.domain.tokens.tokens import Tokens
from vestryd.host.clock import SystemClock
from vestryd.host.files import ConfigTree, PolicyFiles
from vestryd.services.methods import actions, table
from vestryd.settings import Settings


class Core:
    """What Vestry means, over an open store and its audit log: the domain and the files, without a wire."""

    def __init__(self, settings: Settings, store: Store, audit: AuditLog) -> None:
        self.clock = SystemClock()
        self.methods = table()
        known = actions(self.methods.values())
        self.documents = Documents(store, [access_kind(known), CONFIG])
        self.proposals = Proposals(self.documents, store, self.clock)
        directory, environment = settings.config.directory, settings.environment
        self.access = Access(self.documents, self.clock, known)
        policy_files = self._ingestion(access.KIND, PolicyFiles(directory, environment))
        self.policies = Policies(self.documents, self.proposals, policy_files)
        config_files = self._ingestion(config.KIND, ConfigTree(directory, environment))
        self.configs = Configs(self.documents, self.proposals, config_files)
        keep = Limits(settings.history.versions, timedelta(days=settings.history.days))
        self.retention = Retention(self.documents, store, self.clock, keep)
        self.tokens = Tokens(store, audit, self.clock)
        self.vault = Vault(store, self.access, audit, self.clock)
        self.secrets = Secrets(self.vault, store, guard=self.access, audit=audit, clock=self.clock)
        self.auditor = Auditor(
            audit,
            store=store,
            documents=self.documents,
            clock=self.clock,
            facts={"version": __version__, "environment": environment},
        )
        self.access.on_denied = self.auditor.denied

    @property
    def ingestions(self) -> tuple[Ingestion, ...]:
        """What takes files in, the policy's first: what comes after it is done under it."""
        return self.policies.ingestion, self.configs.ingestion

    def _ingestion(self, kind: str, sources: Sources) -> Ingestion:
        return Ingestion(kind, documents=self.documents, proposals=self.proposals, sources=sources, clock=self.clock)
