"""A small faithful SecretsService over real gRPC, with the failures that a test wants."""

# ruff: noqa: N802 - the proto names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from client.fake_errors import abort
from vestry.v1 import common_pb2, secrets_pb2, secrets_pb2_grpc

RpcContext = grpc.aio.ServicerContext[Any, Any]


@dataclass
class FakeSecrets(secrets_pb2_grpc.SecretsServiceServicer):
    """Keeps values and serves them; its state outlives the server, as a real store does."""

    accesses: list[secrets_pb2.AccessSecretRequest] = field(default_factory=list)
    watches: list[secrets_pb2.WatchSecretsRequest] = field(default_factory=list)
    refuse_access: str = ""  # the reason with which each access is refused
    may_watch: bool = True
    expire_time_seconds: int = 0  # of each value that is given

    def __post_init__(self) -> None:
        self.values: dict[tuple[str, str], list[bytes]] = {}  # (namespace, name) -> its versions, oldest first
        self.pending: dict[tuple[str, str], bytes] = {}
        self._log: list[secrets_pb2.SecretChange] = []  # what watchers are told; a token is a place in it
        self._changed = asyncio.Event()
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    def put(self, name: str, value: bytes, *, namespace: str = "default") -> int:
        """Make a version, and tell watchers."""
        versions = self.values.setdefault((namespace, name), [])
        versions.append(value)
        self._tell(namespace, name, secrets_pb2.SECRET_EVENT_CURRENT_CHANGED)
        return len(versions)

    def delete(self, name: str, *, namespace: str = "default") -> None:
        """Delete a secret, and tell watchers."""
        change = secrets_pb2.SecretChange(secret=self.facts(namespace, name), event=secrets_pb2.SECRET_EVENT_DELETED)
        change.secret.delete_time.GetCurrentTime()
        del self.values[namespace, name]
        self._append(change)

    def hold_answers(self) -> None:
        """Let accesses wait, once they have read what they will say, until `release_answers`."""
        self._may_answer.clear()

    def release_answers(self) -> None:
        """Let them go."""
        self._may_answer.set()

    def facts(self, namespace: str, name: str) -> secrets_pb2.Secret:
        """Return what is known of a secret."""
        versions = self.values[namespace, name]
        return secrets_pb2.Secret(
            namespace=namespace, name=name, current_version=len(versions), newest_version=len(versions)
        )

    async def AccessSecret(
        self, request: secrets_pb2.AccessSecretRequest, context: RpcContext
    ) -> secrets_pb2.AccessSecretResponse:
        """Give a value; the previous one is the one before."""
        self.accesses.append(request)
        if self.refuse_access:
            code = {"PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED}.get(
                self.refuse_access, grpc.StatusCode.UNAVAILABLE
            )
            await abort(context, code, self.refuse_access)
        versions = await self._versions(request, context)
        version = request.version or len(versions) - (request.label == secrets_pb2.SECRET_LABEL_PREVIOUS)
        response = secrets_pb2.AccessSecretResponse(value=versions[version - 1], version=version)
        if self.expire_time_seconds:
            response.expire_time.FromSeconds(self.expire_time_seconds)
        await self._may_answer.wait()
        return response

    async def GetSecret(
        self, request: secrets_pb2.GetSecretRequest, context: RpcContext
    ) -> secrets_pb2.GetSecretResponse:
        """Tell what is known."""
        await self._versions(request, context)
        return secrets_pb2.GetSecretResponse(secret=self.facts(request.namespace, request.name))

    async def ListSecretVersions(
        self, request: secrets_pb2.ListSecretVersionsRequest, context: RpcContext
    ) -> secrets_pb2.ListSecretVersionsResponse:
        """List versions; a token is how many were given."""
        versions = await self._versions(request, context)
        given, size = int(request.page_token or 0), request.page_size or 50
        numbers = range(len(versions), 0, -1)[given : given + size]
        return secrets_pb2.ListSecretVersionsResponse(
            versions=[secrets_pb2.SecretVersion(version=number) for number in numbers],
            next_page_token=str(given + size) if given + size < len(versions) else "",
        )

    async def PutSecret(
        self, request: secrets_pb2.PutSecretRequest, context: RpcContext
    ) -> secrets_pb2.PutSecretResponse:
        """Make a version."""
        current = len(self.values.get((request.namespace, request.name), ()))
        if request.HasField("expected_version") and request.expected_version != current:
            await abort(context, grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
        version = self.put(request.name, request.value or b"generated", namespace=request.namespace)
        return secrets_pb2.PutSecretResponse(version=version)

    async def RotateSecret(
        self, request: secrets_pb2.RotateSecretRequest, context: RpcContext
    ) -> secrets_pb2.RotateSecretResponse:
        """Make a version."""
        version = self.put(request.name, request.value or b"generated", namespace=request.namespace)
        return secrets_pb2.RotateSecretResponse(version=version)

    async def WatchSecrets(
        self, request: secrets_pb2.WatchSecretsRequest, context: RpcContext
    ) -> AsyncIterator[secrets_pb2.WatchSecretsResponse]:
        """Send the state or what was missed, a bookmark, and then what happens."""
        self.watches.append(request)
        if not self.may_watch:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        place = int(request.resume_token) if request.resume_token else len(self._log)
        if not request.resume_token:
            for namespace in request.namespaces:
                facts = [self.facts(*key) for key in self.values if key[0] == namespace]
                state = secrets_pb2.SecretsState(namespace=namespace, secrets=facts)
                yield secrets_pb2.WatchSecretsResponse(state=state)
        while True:
            for change in self._log[place:]:
                place += 1
                if change.secret.namespace in request.namespaces:
                    yield secrets_pb2.WatchSecretsResponse(resume_token=str(place), change=change)
            yield secrets_pb2.WatchSecretsResponse(resume_token=str(place), bookmark=common_pb2.Bookmark())
            changed = self._changed
            if place == len(self._log):
                await changed.wait()

    async def _unimplemented(self, request: Any, context: RpcContext) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not by this fake")

    UpdateSecret = ListSecrets = DeleteSecret = UndeleteSecret = DestroySecretVersion = _unimplemented
    GetRotationStatus = RotateKeyring = RewrapStatus = ImportSecrets = _unimplemented

    async def _versions(self, request: Any, context: RpcContext) -> list[bytes]:
        if (request.namespace, request.name) not in self.values:
            await abort(context, grpc.StatusCode.NOT_FOUND, "SECRET_NOT_FOUND", name=request.name)
        return list(self.values[request.namespace, request.name])

    def _tell(self, namespace: str, name: str, event: secrets_pb2.SecretEvent.ValueType) -> None:
        self._append(secrets_pb2.SecretChange(secret=self.facts(namespace, name), event=event))

    def _append(self, change: secrets_pb2.SecretChange) -> None:
        self._log.append(change)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
