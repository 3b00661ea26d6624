"""The watch that hears of a client's secrets: new versions, deletions; never a value."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import grpc.aio

from vestry.backoff import ReconnectPolicy
from vestry.credentials import Credentials
from vestry.errors import RemoteError
from vestry.following import Following, log
from vestry.live_secrets import LiveSecrets
from vestry.v1 import secrets_pb2, secrets_pb2_grpc


class SecretWatch(Following[LiveSecrets]):
    """Follows the namespaces that were added, and knows those too that weren't."""

    noun: ClassVar[str] = "secrets"

    def __init__(
        self,
        stub: secrets_pb2_grpc.SecretsServiceAsyncStub,
        *,
        target: str,
        policy: ReconnectPolicy,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(target=target, policy=policy, credentials=credentials)
        self._stub = stub
        self._known: dict[str, LiveSecrets] = {}  # namespace -> its secrets, watched or not

    def known(self, namespace: str) -> LiveSecrets:
        """Return what is known of a namespace, which need not be watched."""
        return self._known.setdefault(namespace, LiveSecrets(namespace))

    def end(self) -> None:
        """Forget all: the client is closed."""
        super().end()
        for live in self._known.values():
            live.end()

    async def ended(self) -> None:
        """Wait, after `end`, for the callbacks that were interrupted."""
        tasks = [task for live in self._known.values() for task in live.endings]
        if tasks:
            await asyncio.wait(tasks)

    def _make(self, namespace: str) -> LiveSecrets:
        return self.known(namespace)

    def _open(
        self, namespaces: list[str], *, token: str, timeout_seconds: float | None = None
    ) -> grpc.aio.UnaryStreamCall[Any, Any]:
        request = secrets_pb2.WatchSecretsRequest(namespaces=namespaces, resume_token=token)
        return self._stub.WatchSecrets(request, timeout=timeout_seconds)

    def _take_event(self, message: secrets_pb2.WatchSecretsResponse) -> None:
        match message.WhichOneof("event"):
            case "state":
                self.known(message.state.namespace).apply_state(message.state)
            case "change":
                self.known(message.change.secret.namespace).apply_change(message.change)

    def _set_aside(self, namespace: str, error: RemoteError) -> bool:
        """Ask again later. Until then secrets are as old as the cache lets them be, which is no reason to warn."""
        log.info("secrets.namespace_refused namespace=%s error=%s", namespace, error)
        return True
