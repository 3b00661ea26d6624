"""The wire: what callers reach, over a core that has loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vestry._version import __version__
from vestryd.assembly.core import Core
from vestryd.assembly.problems import problems
from vestryd.domain.store import Store
from vestryd.domain.tokens.local import LocalTokens
from vestryd.host.unlocking import UnlockSources
from vestryd.services.access import AccessService
from vestryd.services.admin import AdminService, Daemon
from vestryd.services.audit import AuditService
from vestryd.services.authentication import Authentication
from vestryd.services.config import ConfigService
from vestryd.services.config_feed import ConfigPublisher, ConfigSource
from vestryd.services.feed import Feed
from vestryd.services.feed_source import Source
from vestryd.services.pipeline import Pipeline, Route, bind
from vestryd.services.seal import SealService
from vestryd.services.secret_feed import SecretPublisher, SecretSource
from vestryd.services.secrets import SecretsService
from vestryd.services.tokens import TokenService
from vestryd.settings import Settings
from vestryd.transports.aio import AioServer, UnixSocket
from vestryd.transports.auth_socket import AuthSocket
from vestryd.transports.tls import ServerTls

MIB = 1024 * 1024


class Wire:
    """What callers reach, over a core that has loaded: the services, their feeds, and the transports."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        core: Core,
        unlock: UnlockSources,
        *,
        troubles: Callable[[], Iterator[tuple[str, str]]],
    ) -> None:
        """`troubles` tells of what is wrong on the machine. Raises TlsUnusable."""
        self.routes: dict[str, Route] = {}
        self._troubles = troubles
        self.tls = _tls(settings, core)
        unix = _unix_socket(settings)
        local_tokens = LocalTokens(core.clock)
        self.auth = AuthSocket(unix, local_tokens) if unix else None
        config_source = ConfigSource(core.configs)
        self.config_feed = _feed(config_source, settings, store, core.documents.revision)
        self.publisher = ConfigPublisher(self.config_feed, config_source, core.configs)
        secret_source = SecretSource(core.secrets, core.clock)
        self.secret_feed = _feed(secret_source, settings, store, core.secrets.revision)
        SecretPublisher(self.secret_feed, secret_source, core.secrets, core.vault)
        self.audit = AuditService(core.auditor.log, heartbeat_seconds=settings.watch.heartbeat_seconds)
        admin = AdminService(
            Daemon(__version__, settings.environment, core.clock.now(), settings.state_directory),
            store=store,
            configs=core.configs,
            audit=core.auditor.log,
            secrets=lambda: None if core.vault.is_sealed else core.secrets.figures(),
            watchers=lambda: self.config_feed.watchers + self.secret_feed.watchers,
            listeners=lambda: self.server.listeners,
            problems=lambda: problems(core, *self.troubles()),
            routes=lambda: self.routes,
        )
        services = [
            AccessService(core.access, core.policies, store=store, methods=core.methods.values()),
            admin,
            self.audit,
            ConfigService(
                core.configs, self.config_feed, store=store, environment=settings.environment, secrets=core.secrets
            ),
            SealService(core.vault, core.secrets, unlock),
            SecretsService(core.secrets, core.vault, self.secret_feed, store=store, clock=core.clock),
            TokenService(core.tokens),
        ]
        self.routes = bind(core.methods, services)
        self.pipeline = Pipeline(
            self.routes,
            authenticator=Authentication(core.tokens, local_tokens, self.tls.certificates if self.tls else None),
            guard=core.access,
            default_deadline_seconds=settings.limits.deadline_seconds,
        )
        core.tokens.on_ended = lambda _token: self.pipeline.live.changed()
        self.server = AioServer(
            self.pipeline,
            unix=unix,
            tcp=settings.listen.tcp,
            tls=self.tls,
            max_request_bytes=settings.limits.request_bytes,
        )

    def troubles(self) -> Iterator[tuple[str, str]]:
        """Yield (component, message) for what an administrator should look at."""
        yield from self._troubles()
        if self.tls and self.tls.problem:
            yield "tls", self.tls.problem

    async def start(self) -> None:
        """Listen. Raises AddressUnusable."""
        if self.auth:
            await self.auth.start()
        await self.server.start()

    async def stop(self, grace_seconds: float) -> None:
        """End the watches, let calls under way finish for so long, and stop listening."""
        self.config_feed.close()
        self.secret_feed.close()
        self.audit.close()
        await self.server.stop(grace_seconds)
        if self.auth:
            await self.auth.stop()


def _feed(source: Source, settings: Settings, store: Store, revision: int) -> Feed:
    return Feed(
        source,
        incarnation=store.incarnation,
        revision=revision,
        heartbeat_seconds=settings.watch.heartbeat_seconds,
        window_events=settings.watch.window_events,
        window_bytes=settings.watch.window_mebibytes * MIB,
    )


def _tls(settings: Settings, core: Core) -> ServerTls | None:
    listen = settings.listen
    if not (listen.tcp and listen.tls_certificate and listen.tls_key):
        return None
    return ServerTls(
        listen.tls_certificate,
        listen.tls_key,
        client_ca=listen.tls_client_ca,
        crl=listen.tls_crl,
        clock=core.clock,
    )


def _unix_socket(settings: Settings) -> UnixSocket | None:
    listen = settings.listen
    return UnixSocket(Path(listen.unix), listen.unix_mode_bits, listen.unix_group) if listen.unix else None
