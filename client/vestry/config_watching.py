"""The watch that feeds a client's views of configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import grpc.aio

from vestry.backoff import ReconnectPolicy
from vestry.credentials import Credentials
from vestry.errors import RemoteError
from vestry.following import Following, log
from vestry.live import LiveConfig
from vestry.remote import Remote
from vestry.snapshot import Snapshot
from vestry.v1 import config_pb2


class ConfigWatch(Following[LiveConfig]):
    """Follows the configuration of the namespaces that were added.

    `on_update` hears of each state that the daemon sends, `on_loss` of each namespace whenever the daemon can't be had.
    """

    noun: ClassVar[str] = "config"

    def __init__(
        self,
        remote: Remote,
        *,
        target: str,
        policy: ReconnectPolicy,
        credentials: Credentials | None = None,
        on_update: Callable[[config_pb2.ConfigUpdate], None],
        on_loss: Callable[[LiveConfig], None],
    ) -> None:
        super().__init__(target=target, policy=policy, credentials=credentials)
        self._remote = remote
        self._on_update = on_update
        self._on_loss = on_loss

    def _make(self, namespace: str) -> LiveConfig:
        return LiveConfig(namespace)

    def _open(
        self, namespaces: list[str], *, token: str, timeout_seconds: float | None = None
    ) -> grpc.aio.UnaryStreamCall[Any, Any]:
        request = config_pb2.WatchConfigRequest(namespaces=namespaces, resume_token=token)
        return self._remote.stub.WatchConfig(request, timeout=timeout_seconds)

    def _begin(self, live: LiveConfig) -> None:
        live.rejection = None  # the state that comes tells of rejections, and not of their absence

    def _hear(self, live: LiveConfig) -> None:
        live.heard()

    def _after_loss(self, live: LiveConfig) -> None:
        self._on_loss(live)

    def _take_event(self, message: config_pb2.WatchConfigResponse) -> None:
        match message.WhichOneof("event"):
            case "update":
                self._update(message.update)
            case "rejected":
                self._reject(message.rejected)

    def _update(self, update: config_pb2.ConfigUpdate) -> None:
        if live := self._lives.get(update.namespace):
            live.apply(Snapshot.from_update(update))
            live.connected()
            self._on_update(update)

    def _reject(self, rejected: config_pb2.ConfigRejected) -> None:
        if live := self._lives.get(rejected.namespace):
            live.rejection = rejected.rejection if rejected.HasField("rejection") else None

    def _set_aside(self, namespace: str, error: RemoteError) -> bool:
        """Ask again for what a view shows already; who waits for the first state has the error."""
        if not self._lives[namespace].has_state:
            return False
        log.warning("config.namespace_refused namespace=%s error=%s", namespace, error)
        return True
