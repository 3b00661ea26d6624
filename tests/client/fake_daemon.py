"""A small faithful vestryd: ConfigService over real gRPC, with the failures that a test wants.

Run as a program, `python fake_daemon.py TARGET HEARTBEAT_SECONDS`, it serves the namespace `default` until it is killed.
"""

# ruff: noqa: N802 - the proto names the methods

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from client.fake_errors import RpcContext, abort, abort_invalid
from client.fake_secrets import FakeSecrets
from vestry.v1 import common_pb2, config_pb2, config_pb2_grpc, secrets_pb2_grpc

Event = config_pb2.ConfigUpdate | config_pb2.ConfigRejected


@dataclass
class Watched:
    """One WatchConfig call, as it arrived."""

    namespaces: list[str]
    resume_token: str


@dataclass
class FakeDaemon(config_pb2_grpc.ConfigServiceServicer):
    """Keeps versions and serves them at `target`. Its state outlives `stop`, as a real store does."""

    target: str
    heartbeat_seconds: float = 10.0
    incarnation: str = "1"
    watches: list[Watched] = field(default_factory=list)
    updates: list[config_pb2.UpdateConfigRequest] = field(default_factory=list)
    answers_to_lose: int = 0
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    watches_to_break: int = 0  # how many initial states to break off after their first message

    def __post_init__(self) -> None:
        self._versions: dict[str, list[config_pb2.ConfigUpdate]] = {}  # namespace -> its versions, oldest first
        self._log: list[Event] = []  # what watchers are told; a token is a place in it
        self._answers: dict[str, config_pb2.UpdateConfigResponse] = {}  # request_id -> what was answered
        self._changed = asyncio.Event()
        self._awake = asyncio.Event()
        self._awake.set()
        self._is_stopping = False
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen at `target`."""
        self._is_stopping = False
        self._server = grpc.aio.server(options=[("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000)])
        config_pb2_grpc.add_ConfigServiceServicer_to_server(self, self._server)
        secrets_pb2_grpc.add_SecretsServiceServicer_to_server(self.secrets, self._server)
        self._server.add_insecure_port(self.target)
        await self._server.start()

    async def stop(self) -> None:
        """End as on SIGTERM: every watch with its reason."""
        self._is_stopping = True
        self._wake()
        await self._close(grace=1.0)

    async def kill(self) -> None:
        """End as on SIGKILL: without a word."""
        await self._close(grace=None)

    @property
    def is_awake(self) -> bool:
        """Whether it is not hanging."""
        return self._awake.is_set()

    def hang(self) -> None:
        """Answer nothing and send nothing, with the connections open."""
        self._awake.clear()

    def wake(self) -> None:
        """Go on after `hang`."""
        self._awake.set()

    def restore_backup(self) -> None:
        """Make every token foreign."""
        self.incarnation += "1"
        self._log.clear()

    def set(self, namespace: str, document: Any, *, cause: common_pb2.Cause.ValueType = common_pb2.CAUSE_FILE) -> int:
        """Make a new version and return its number."""
        return self.set_raw(
            namespace, json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), cause=cause
        )

    def set_raw(
        self, namespace: str, content: bytes, *, cause: common_pb2.Cause.ValueType = common_pb2.CAUSE_FILE
    ) -> int:
        """Make a new version of bytes that need not be JSON."""
        versions = self._versions.setdefault(namespace, [])
        version = len(versions) + 1
        update = config_pb2.ConfigUpdate(
            namespace=namespace,
            version=version,
            document=content,
            checksum=f"{hash(content):064x}",
            author="tester",
            message=f"version {version}",
            cause=cause,
        )
        update.create_time.GetCurrentTime()
        versions.append(update)
        self._tell(update)
        return version

    def remove(self, namespace: str) -> None:
        """Forget a namespace."""
        del self._versions[namespace]

    def reject(self, namespace: str, *violations: common_pb2.Violation) -> None:
        """Refuse the files of a namespace; without violations, find them in order again."""
        rejection = config_pb2.Rejection(violations=violations) if violations else None
        self._tell(config_pb2.ConfigRejected(namespace=namespace, rejection=rejection))

    async def WatchConfig(
        self, request: config_pb2.WatchConfigRequest, context: RpcContext
    ) -> AsyncIterator[config_pb2.WatchConfigResponse]:
        """Send the state or what was missed, a bookmark, and then what happens."""
        self.watches.append(Watched(list(request.namespaces), request.resume_token))
        await self._awake.wait()
        for namespace in request.namespaces:
            await self._require(namespace, context)
        if request.resume_token:
            place = await self._place(request.resume_token, context)
        else:
            place = len(self._log)
            for namespace in request.namespaces:
                yield config_pb2.WatchConfigResponse(update=self._versions[namespace][-1])
                if self.watches_to_break:
                    self.watches_to_break -= 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
        while True:
            for event in self._log[place:]:
                place += 1
                if event.namespace in request.namespaces:
                    yield self._message(event, place)
            yield config_pb2.WatchConfigResponse(resume_token=self._token(place), bookmark=common_pb2.Bookmark())
            while place == len(self._log):
                if self._is_stopping:
                    yield config_pb2.WatchConfigResponse(
                        resume_token=self._token(place),
                        end=common_pb2.WatchEnd(reason=common_pb2.WATCH_END_REASON_SHUTTING_DOWN, message="good-bye"),
                    )
                    await abort(context, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
                changed = self._changed
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.heartbeat_seconds):
                        await changed.wait()
                        continue
                await self._awake.wait()
                break
            await self._awake.wait()

    async def UpdateConfig(
        self, request: config_pb2.UpdateConfigRequest, context: RpcContext
    ) -> config_pb2.UpdateConfigResponse:
        """Change the first level of the document: enough for a client."""
        await self._awake.wait()
        self.updates.append(request)
        await self._require(request.namespace, context)
        if request.request_id not in self._answers:
            self._answers[request.request_id] = await self._update(request, context)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        return self._answers[request.request_id]

    async def RollbackConfig(
        self, request: config_pb2.RollbackConfigRequest, context: RpcContext
    ) -> config_pb2.RollbackConfigResponse:
        """Make a version with an earlier one's document."""
        versions = self._versions[request.namespace]
        if not 0 < request.version <= len(versions):
            await abort(context, grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")
        document = json.loads(versions[request.version - 1].document)
        version = self.set(request.namespace, document, cause=common_pb2.CAUSE_ROLLBACK)
        return config_pb2.RollbackConfigResponse(version=version, changed=True)

    async def ValidateConfig(
        self, request: config_pb2.ValidateConfigRequest, context: RpcContext
    ) -> config_pb2.ValidateConfigResponse:
        """Find fault with a key named `wrong`."""
        if "wrong" not in json.loads(request.document):
            return config_pb2.ValidateConfigResponse(valid=True)
        violation = common_pb2.Violation(pointer="/wrong", rule="not", message="no")
        return config_pb2.ValidateConfigResponse(violations=[violation])

    async def ListConfigVersions(
        self, request: config_pb2.ListConfigVersionsRequest, context: RpcContext
    ) -> config_pb2.ListConfigVersionsResponse:
        """List versions; a token is how many were given."""
        given = int(request.page_token or 0)
        size = request.page_size or 50
        versions = self._versions[request.namespace][::-1]
        return config_pb2.ListConfigVersionsResponse(
            versions=[
                config_pb2.ConfigVersion(namespace=version.namespace, version=version.version)
                for version in versions[given : given + size]
            ],
            next_page_token=str(given + size) if given + size < len(versions) else "",
        )

    async def ExplainConfig(
        self, request: config_pb2.ExplainConfigRequest, context: RpcContext
    ) -> config_pb2.ExplainConfigResponse:
        """Say that one layer decided on the pointer."""
        leaf = config_pb2.LeafExplanation(pointer=request.pointer, layer=common_pb2.LAYER_DEFAULT)
        return config_pb2.ExplainConfigResponse(namespace=request.namespace, leaves=[leaf])

    async def GetConfigStatus(
        self, request: config_pb2.GetConfigStatusRequest, context: RpcContext
    ) -> config_pb2.GetConfigStatusResponse:
        """Tell the version."""
        await self._awake.wait()
        await self._require(request.namespace, context)
        return config_pb2.GetConfigStatusResponse(
            namespace=request.namespace, version=len(self._versions[request.namespace])
        )

    async def _unimplemented(self, request: Any, context: RpcContext) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not by this fake")

    async def GetConfig(
        self, request: config_pb2.GetConfigRequest, context: RpcContext
    ) -> config_pb2.GetConfigResponse:
        """Read a whole document, with values in the place of references at its first level; others are withheld."""
        document = json.loads(self._versions[request.namespace][-1].document)
        for key, value in document.items():
            if request.resolve_secrets and isinstance(value, dict) and "$secret" in value:
                _, namespace, _, name = value["$secret"].split("/")
                versions = self.secrets.values.get((namespace, name))
                document[key] = versions[-1].decode() if versions else value | {"$withheld": "not allowed"}
        for key in request.pointer.split("/")[1:]:
            document = document[key]
        return config_pb2.GetConfigResponse(value=json.dumps(document).encode())

    GetConfigVersion = DiffConfigVersions = _unimplemented
    GetConfigSchema = ListNamespaces = ReloadConfig = _unimplemented

    async def _update(
        self, request: config_pb2.UpdateConfigRequest, context: RpcContext
    ) -> config_pb2.UpdateConfigResponse:
        current = self._versions[request.namespace][-1]
        if request.HasField("expected_version") and request.expected_version != current.version:
            await abort(
                context,
                grpc.StatusCode.ABORTED,
                "VERSION_MISMATCH",
                expected_version=str(request.expected_version),
                actual_version=str(current.version),
            )
        if request.WhichOneof("change") == "replace":
            document = json.loads(request.replace)
        else:
            document = json.loads(current.document) | json.loads(request.merge_patch)
        if "wrong" in document:
            await abort_invalid(context, pointer="/wrong", rule="not", message="no")
        if request.dry_run:
            return config_pb2.UpdateConfigResponse(version=current.version + 1, changed=True)
        version = self.set(request.namespace, document, cause=common_pb2.CAUSE_UPDATE)
        return config_pb2.UpdateConfigResponse(version=version, changed=True)

    async def _require(self, namespace: str, context: RpcContext) -> None:
        if namespace not in self._versions:
            await abort(context, grpc.StatusCode.NOT_FOUND, "DOCUMENT_NOT_FOUND", kind="config", name=namespace)

    async def _place(self, token: str, context: RpcContext) -> int:
        incarnation, _, place = token.partition(":")
        if not place.isdecimal():
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID", field="resume_token")
        if incarnation != self.incarnation or int(place) > len(self._log):
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "RESUME_TOKEN_FOREIGN")
        return int(place)

    def _token(self, place: int) -> str:
        return f"{self.incarnation}:{place}"

    def _message(self, event: Event, place: int) -> config_pb2.WatchConfigResponse:
        if isinstance(event, config_pb2.ConfigUpdate):
            return config_pb2.WatchConfigResponse(resume_token=self._token(place), update=event)
        return config_pb2.WatchConfigResponse(resume_token=self._token(place), rejected=event)

    def _tell(self, event: Event) -> None:
        self._log.append(event)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _close(self, *, grace: float | None) -> None:
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None


async def _serve(target: str, heartbeat_seconds: float) -> None:
    daemon = FakeDaemon(target, heartbeat_seconds=heartbeat_seconds)
    daemon.set("default", {"from": "process"})
    daemon.secrets.put("db-password", b"one")
    await daemon.start()
    print("ready", flush=True)  # noqa: T201 - tells the test that started it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
