"""Clients without a daemon, for the tests of programs that use Vestry.

    from vestry.testing import FakeClient

    def test_timeout_follows_configuration() -> None:
        client = FakeClient({"default": {"providers": {"openai": {"timeout_seconds": 30}}}})
        service = Service(client.config())
        client.set("default", "providers.openai.timeout_seconds", 5)
        assert service.timeout_seconds == 5

        client = FakeClient({}, secrets={"default": {"db-password": b"one"}})
        client.rotate_secret("db-password", b"two")
        assert client.secrets["db-password"].reveal() == b"two"

The views and handles are real ones, and nothing listens or connects. What a daemon would do happens at once, on the caller's
thread: callbacks have run when `set` returns. There is one layer, no schema and no file, so `view.update` merges into
the document and `view.replace` replaces it; `rollback` and `history` work, `validate` finds everything valid, other
calls raise Unimplemented. Secrets are given without delay: the fake keeps no copies of values that could be old.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, cast

from vestry import paths
from vestry.backoff import ReconnectPolicy
from vestry.client import check_namespace
from vestry.config import AsyncConfigView
from vestry.errors import Unavailable
from vestry.in_memory import InMemoryConfig
from vestry.in_memory_secrets import InMemorySecrets
from vestry.remote import Remote
from vestry.secret_cache import Keeping, SecretCache
from vestry.secrets import AsyncSecrets
from vestry.sync_config import ConfigView
from vestry.sync_secrets import Secrets
from vestry.v1 import config_pb2, config_pb2_grpc, secrets_pb2_grpc

T = TypeVar("T")


class _Fake:
    """What both fake clients do for a test.

    `documents` maps each namespace -> its first version's document, `secrets` each namespace -> its secrets' values.
    """

    def __init__(
        self, documents: Mapping[str, Any], *, secrets: Mapping[str, Mapping[str, bytes]] = MappingProxyType({})
    ) -> None:
        self._service = InMemoryConfig(documents)
        self._secret_service = InMemorySecrets(secrets)
        self._remote = Remote(
            cast("config_pb2_grpc.ConfigServiceAsyncStub", self._service),
            target="memory",
            timeout_seconds=1.0,
            policy=ReconnectPolicy(),
            check=self._service.check,
        )
        self._cores: dict[str, AsyncConfigView] = {}  # namespace -> its one view
        self._secret_cores: dict[str, AsyncSecrets] = {}  # namespace -> its secrets
        self._secret_cache = SecretCache(
            self._secret_service,
            cast("secrets_pb2_grpc.SecretsServiceAsyncStub", self._secret_service),
            self._remote,
            keeping=Keeping(fresh_seconds=0),
            later=lambda _seconds, _call: None,  # nothing is kept that should be forgotten
        )

    def set(self, namespace: str, path: str, value: Any) -> None:
        """Make a new version with `value` at `path`, and with the objects on the way to it. The empty path is the whole."""
        document = copy.deepcopy(self._service.live(namespace).snapshot.document)
        self._service.put(namespace, _with(document, paths.parse(path), value))

    def reject(self, namespace: str, rejection: config_pb2.Rejection | None) -> None:
        """Have the views say that the namespace's files are refused; None: that they are in order."""
        self._service.live(namespace).rejection = rejection

    def disconnect(self, namespace: str) -> None:
        """Have the views say that the daemon is away, until the namespace changes."""
        self._service.live(namespace).disconnected(Unavailable("the test took the daemon away"))

    def rotate_secret(self, name: str, value: bytes, *, namespace: str = "default") -> int:
        """Make `value` the current version of a secret, of a new one too, and return the version's number."""
        return self._secret_service.put(namespace, name, value)

    def _open_secrets(self) -> SecretCache:
        self._service.check()
        return self._secret_cache

    def _secret_core(self, namespace: str) -> AsyncSecrets:
        if namespace not in self._secret_cores:
            self._secret_cores[namespace] = AsyncSecrets(check_namespace(namespace), self._open_secrets)
        return self._secret_cores[namespace]

    def _close(self) -> None:
        self._service.close()
        self._secret_service.close()

    def _core(self, namespace: str) -> AsyncConfigView:
        self._service.check()
        if namespace not in self._cores:
            self._cores[namespace] = AsyncConfigView(self._service.live(namespace), self._remote)
        return self._cores[namespace]


class AsyncFakeClient(_Fake):
    """Stands for an AsyncClient, with some documents and secrets."""

    @property
    def secrets(self) -> AsyncSecrets:
        """The secrets of the namespace `default`."""
        return self.secrets_in("default")

    def secrets_in(self, namespace: str) -> AsyncSecrets:
        """Return the secrets of a namespace."""
        return self._secret_core(namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def config(self, namespace: str = "default") -> AsyncConfigView:
        """Return the view of a namespace. Raises NotFound for one that the fake was not made with."""
        return self._core(namespace)

    async def close(self) -> None:
        """End the waits for changes. Idempotent."""
        self._close()


class FakeClient(_Fake):
    """Stands for a Client, with some documents and secrets."""

    def __init__(
        self, documents: Mapping[str, Any], *, secrets: Mapping[str, Mapping[str, bytes]] = MappingProxyType({})
    ) -> None:
        super().__init__(documents, secrets=secrets)
        self._views: dict[str, ConfigView] = {}  # namespace -> its one view
        self._secrets: dict[str, Secrets] = {}  # namespace -> its secrets

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def config(self, namespace: str = "default") -> ConfigView:
        """Return the view of a namespace. Raises NotFound for one that the fake was not made with."""
        core = self._core(namespace)
        if namespace not in self._views:
            self._views[namespace] = ConfigView(core, _Inline(self._service), owner=self)
        return self._views[namespace]

    @property
    def secrets(self) -> Secrets:
        """The secrets of the namespace `default`."""
        return self.secrets_in("default")

    def secrets_in(self, namespace: str) -> Secrets:
        """Return the secrets of a namespace."""
        if namespace not in self._secrets:
            self._secrets[namespace] = Secrets(self._secret_core(namespace), lambda: _Inline(self._service), owner=self)
        return self._secrets[namespace]

    def close(self) -> None:
        """End the waits for changes. Idempotent."""
        self._close()


class _Inline:
    """Runs coroutines that never wait, right here."""

    def __init__(self, service: InMemoryConfig) -> None:
        self._service = service

    def check(self) -> None:
        self._service.check()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            make().send(None)
        except StopIteration as end:
            return cast("T", end.value)
        raise AssertionError("a fake daemon's answer never waits")

    def start(self, work: Callable[[], None]) -> None:
        work()


def _with(document: Any, keys: paths.Keys, value: Any) -> Any:
    """Return `document`, changed in place, with `value` at `keys`. Raises IndexError beyond an array."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(document, list):
        document[int(key)] = _with(document[int(key)], tuple(rest), value)
        return document
    members = document if isinstance(document, dict) else {}
    members[key] = _with(members.get(key), tuple(rest), value)
    return members
