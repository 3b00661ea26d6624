"""A vestryd in memory, over real gRPC."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ctl.fake_access import FakeAccess
from ctl.fake_audit import FakeAudit
from ctl.fake_config import REVISION, Context, FakeConfig
from ctl.fake_documents import encode
from ctl.fake_seal import FakeSeal
from ctl.fake_secrets import FakeSecrets
from ctl.fake_tokens import FakeTokens
from vestry.v1 import (
    access_pb2_grpc,
    admin_pb2,
    admin_pb2_grpc,
    audit_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    seal_pb2_grpc,
    secrets_pb2_grpc,
    tokens_pb2_grpc,
)


@dataclass(kw_only=True)
class FakeDaemon(FakeConfig, FakeAccess, FakeAudit, admin_pb2_grpc.AdminServiceServicer):
    """Serves at `address` between `start` and `stop`; what it keeps outlives both, as a store does."""

    address: str
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    seal: FakeSeal = field(default_factory=FakeSeal)
    tokens: FakeTokens = field(default_factory=FakeTokens)
    methods: list[admin_pb2.MethodFigures] = field(default_factory=list)
    problems: list[admin_pb2.Problem] = field(default_factory=list)
    secret_figures: admin_pb2.SecretFigures | None = None
    backup: bytes = b"SQLite format 3\x00" + bytes(200_000)
    backup_total: int | None = None  # what the first piece claims, if not the truth

    def __post_init__(self) -> None:
        super().__post_init__()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Listen."""
        self.is_stopping = False
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        config_pb2_grpc.add_ConfigServiceServicer_to_server(self, self._server)
        access_pb2_grpc.add_AccessServiceServicer_to_server(self, self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self, self._server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self, self._server)
        secrets_pb2_grpc.add_SecretsServiceServicer_to_server(self.secrets, self._server)
        seal_pb2_grpc.add_SealServiceServicer_to_server(self.seal, self._server)
        tokens_pb2_grpc.add_TokenServiceServicer_to_server(self.tokens, self._server)
        self.secrets.stop(is_stopping=False)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        """End every watch, and stop listening."""
        self.secrets.stop(is_stopping=True)
        with self.changed:
            self.is_stopping = True
            self.changed.notify_all()
        if self._server is not None:
            self._server.stop(1.0).wait()

    def GetConfig(self, request: config_pb2.GetConfigRequest, context: Context) -> config_pb2.GetConfigResponse:
        """Read configuration, with values in the place of references where that is asked for."""
        answer = super().GetConfig(request, context)
        if request.resolve_secrets:
            answer.value = encode(self._resolved(json.loads(answer.value)))
        return answer

    def _resolved(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "$secret" not in value:
            return {key: self._resolved(member) for key, member in value.items()}
        _, namespace, _, name = value["$secret"].split("/")
        if (namespace, name) not in self.secrets.kept:
            return value | {"$withheld": "not allowed"}
        return self.secrets.value(name, namespace=namespace).decode()

    def GetStatus(self, request: admin_pb2.GetStatusRequest, context: Context) -> admin_pb2.GetStatusResponse:
        """Tell what runs here."""
        return admin_pb2.GetStatusResponse(
            version="0.1.0",
            environment="production",
            start_time=Timestamp(seconds=1_790_000_000),
            revision=REVISION,
            store="sqlite",
            store_bytes=1_300_000,
            listeners=[self.address],
            namespaces=len(self.documents),
            watchers=2,
            problems=self.problems,
            methods=self.methods,
            process_id=4711,
            secrets=self.secret_figures,
        )

    def CreateBackup(
        self, request: admin_pb2.CreateBackupRequest, context: Context
    ) -> Iterator[admin_pb2.CreateBackupResponse]:
        """Send the backup in pieces."""
        total = len(self.backup) if self.backup_total is None else self.backup_total
        first = admin_pb2.CreateBackupResponse(revision=REVISION, total_bytes=total)
        for start in range(0, len(self.backup), 65536):
            first.chunk = self.backup[start : start + 65536]
            yield first
            first = admin_pb2.CreateBackupResponse()
