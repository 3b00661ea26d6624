"""One WatchConfig stream, read as it comes."""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import Any, Self

import grpc

from e2e.daemon import until
from vestry.v1 import config_pb2, config_pb2_grpc


class RawWatch:
    """A watch over the generated stub, without the library's help: a thread keeps every message, and how it ended.

    It has had its first bookmark when its block begins, and is cancelled when that ends.
    """

    def __init__(self, stub: config_pb2_grpc.ConfigServiceStub, *namespaces: str, resume_token: str = "") -> None:
        self.messages: list[config_pb2.WatchConfigResponse] = []
        self.error: grpc.RpcError | None = None
        request = config_pb2.WatchConfigRequest(namespaces=namespaces, resume_token=resume_token)
        self._call = stub.WatchConfig(request)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.error or self._has("bookmark"), "the first bookmark has come")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._thread.join()

    @property
    def token(self) -> str:
        """Where to resume."""
        return next(message.resume_token for message in reversed(self.messages) if message.resume_token)

    def updates(self, namespace: str = "default") -> list[tuple[int, Any]]:
        """Return the versions that came, and their documents."""
        updates = [message.update for message in self.messages if message.HasField("update")]
        return [(one.version, json.loads(one.document)) for one in updates if one.namespace == namespace]

    def versions(self, namespace: str = "default") -> list[int]:
        """Return the versions that came."""
        return [version for version, _ in self.updates(namespace)]

    def rejections(self) -> list[config_pb2.ConfigRejected]:
        """Return what it was told about files that are rejected, or in order again."""
        return [message.rejected for message in self.messages if message.HasField("rejected")]

    def join(self) -> None:
        """Wait until the daemon has ended it."""
        until(lambda: self.error, "the watch has ended")

    def _has(self, event: str) -> bool:
        return any(message.WhichOneof("event") == event for message in self.messages)

    def _read(self) -> None:
        try:
            self.messages.extend(self._call)
        except grpc.RpcError as error:
            self.error = error
