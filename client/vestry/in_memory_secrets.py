"""A SecretsService in this process' memory, for vestry.testing."""

# ruff: noqa: N802 - the proto names the methods

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from vestry.errors import FailedPrecondition, NotFound, Unimplemented, VersionMismatch
from vestry.live_secrets import LiveSecrets
from vestry.v1 import secrets_pb2

_Writes = secrets_pb2.PutSecretRequest | secrets_pb2.RotateSecretRequest


@dataclass
class _Kept:
    """One secret. Version n is at n - 1 of `values`; version 0 stands for none."""

    namespace: str
    name: str
    values: list[bytes] = field(default_factory=list, repr=False)
    current: int = 0
    previous: int = 0
    pending: int = 0

    def facts(self) -> secrets_pb2.Secret:
        return secrets_pb2.Secret(
            namespace=self.namespace,
            name=self.name,
            current_version=self.current,
            previous_version=self.previous,
            pending_version=self.pending,
            newest_version=len(self.values),
        )


class InMemorySecrets:
    """Keeps the secrets of some namespaces, answers with the methods of the generated stub, and is their watch as well.

    Its methods never wait. It makes no values by itself, and nothing expires.
    """

    def __init__(self, values: Mapping[str, Mapping[str, bytes]]) -> None:
        self._secrets: dict[tuple[str, str], _Kept] = {}  # (namespace, name) -> the secret
        self._known: dict[str, LiveSecrets] = {}  # namespace -> what its handles know
        for namespace, secrets in values.items():
            for name, value in secrets.items():
                self.put(namespace, name, value)

    def known(self, namespace: str) -> LiveSecrets:
        """Return what the handles of `namespace` know."""
        return self._known.setdefault(namespace, LiveSecrets(namespace))

    def add(self, namespace: str) -> LiveSecrets:
        """Return what the handles of `namespace` know, which is all there is."""
        live = self.known(namespace)
        live.connected()
        live.apply_state(
            secrets_pb2.SecretsState(
                namespace=namespace,
                secrets=[kept.facts() for kept in self._secrets.values() if kept.namespace == namespace],
            )
        )
        return live

    def put(self, namespace: str, name: str, value: bytes) -> int:
        """Make `value` the current version, tell who wants to know, and return its number."""
        kept = self._secrets.setdefault((namespace, name), _Kept(namespace, name))
        kept.values.append(value)
        return self._promote(kept, len(kept.values))

    def close(self) -> None:
        """Forget the values that were handed out. Idempotent."""
        for live in self._known.values():
            live.end()

    async def AccessSecret(
        self, request: secrets_pb2.AccessSecretRequest, **_options: float
    ) -> secrets_pb2.AccessSecretResponse:
        """Give a value."""
        kept = self._find(request.namespace, request.name)
        version = request.version or {
            secrets_pb2.SECRET_LABEL_PREVIOUS: kept.previous,
            secrets_pb2.SECRET_LABEL_PENDING: kept.pending,
        }.get(request.label, kept.current)
        if not version:
            raise FailedPrecondition(f"secret {request.name!r} has no such version now", reason="SECRET_UNUSABLE")
        if version > len(kept.values):
            raise NotFound(f"secret {request.name!r} has no version {version}", reason="VERSION_NOT_FOUND")
        return secrets_pb2.AccessSecretResponse(value=kept.values[version - 1], version=version)

    async def GetSecret(
        self, request: secrets_pb2.GetSecretRequest, **_options: float
    ) -> secrets_pb2.GetSecretResponse:
        """Tell which versions there are."""
        return secrets_pb2.GetSecretResponse(secret=self._find(request.namespace, request.name).facts())

    async def ListSecretVersions(
        self, request: secrets_pb2.ListSecretVersionsRequest, **_options: float
    ) -> secrets_pb2.ListSecretVersionsResponse:
        """List all versions on one page, newest first."""
        values = self._find(request.namespace, request.name).values
        versions = [
            secrets_pb2.SecretVersion(version=number, size=len(value)) for number, value in enumerate(values, start=1)
        ]
        return secrets_pb2.ListSecretVersionsResponse(versions=reversed(versions))

    async def PutSecret(
        self, request: secrets_pb2.PutSecretRequest, **_options: float
    ) -> secrets_pb2.PutSecretResponse:
        """Make a version, of a new secret too."""
        kept = self._secrets.setdefault((request.namespace, request.name), _Kept(request.namespace, request.name))
        self._expect(kept, request)
        version = self.put(request.namespace, request.name, _given(request))
        return secrets_pb2.PutSecretResponse(secret=kept.facts(), version=version)

    async def RotateSecret(
        self, request: secrets_pb2.RotateSecretRequest, **_options: float
    ) -> secrets_pb2.RotateSecretResponse:
        """Make a version, or promote or abandon the pending one. Every grace lasts until the next rotation."""
        kept = self._find(request.namespace, request.name)
        self._expect(kept, request)
        match request.step:
            case secrets_pb2.ROTATION_STEP_PENDING:
                kept.values.append(_given(request))
                version = kept.pending = len(kept.values)
            case secrets_pb2.ROTATION_STEP_PROMOTE | secrets_pb2.ROTATION_STEP_ABANDON if not kept.pending:
                raise FailedPrecondition(f"secret {request.name!r} has no pending version", reason="SECRET_UNUSABLE")
            case secrets_pb2.ROTATION_STEP_PROMOTE:
                version = self._promote(kept, kept.pending)
            case secrets_pb2.ROTATION_STEP_ABANDON:
                version, kept.pending = kept.pending, 0
            case _:
                version = self.put(request.namespace, request.name, _given(request))
        return secrets_pb2.RotateSecretResponse(secret=kept.facts(), version=version)

    def __getattr__(self, method: str) -> NoReturn:
        raise Unimplemented(f"a fake client doesn't know {method}: use a vestryd for this test")

    def _promote(self, kept: _Kept, version: int) -> int:
        kept.previous, kept.current = kept.current, version
        kept.pending = 0 if kept.pending == version else kept.pending
        self.known(kept.namespace).apply_change(secrets_pb2.SecretChange(secret=kept.facts()))
        return version

    def _find(self, namespace: str, name: str) -> _Kept:
        if (namespace, name) not in self._secrets:
            raise NotFound(f"there is no secret {name!r} in {namespace!r}", reason="SECRET_NOT_FOUND")
        return self._secrets[namespace, name]

    def _expect(self, kept: _Kept, request: _Writes) -> None:
        if request.HasField("expected_version") and request.expected_version != kept.current:
            raise VersionMismatch(
                f"secret {kept.name!r} is at version {kept.current}, not {request.expected_version}: "
                "read it again, and decide again",
                reason="VERSION_MISMATCH",
            )


def _given(request: _Writes) -> bytes:
    """Return the value that a request brings. Raises Unimplemented for one that the daemon is to make."""
    if request.WhichOneof("content") != "value":
        raise Unimplemented("a fake client makes no values: bring one, or use a vestryd for this test")
    return request.value
