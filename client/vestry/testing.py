"""Clients without a daemon, for the tests of programs that use Vestry.

    from vestry.testing import FakeClient

    def test_timeout_follows_configuration() -> None:
        client = FakeClient({"default": {"providers": {"openai": {"timeout_seconds": 30}}}})
        service = Service(client.config())
        client.set("default", "providers.openai.timeout_seconds", 5)
        assert service.timeout_seconds == 5

The views are real ones, and nothing listens or connects. What a daemon would do happens at once, on the caller's
thread: callbacks have run when `set` returns. There is one layer, no schema and no file, so `view.update` merges into
the document and `view.replace` replaces it; `rollback` and `history` work, `validate` finds everything valid, other
calls raise Unimplemented.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from vestry import paths
from vestry.backoff import ReconnectPolicy
from vestry.config import AsyncConfigView
from vestry.errors import Unavailable
from vestry.in_memory import InMemoryConfig
from vestry.remote import Remote
from vestry.sync_config import ConfigView
from vestry.v1 import config_pb2, config_pb2_grpc

T = TypeVar("T")


class _Fake:
    """What both fake clients do for a test. `documents` maps each namespace -> its first version's document."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._service = InMemoryConfig(documents)
        self._remote = Remote(
            cast("config_pb2_grpc.ConfigServiceAsyncStub", self._service),
            target="memory",
            timeout_seconds=1.0,
            policy=ReconnectPolicy(),
            check=self._service.check,
        )
        self._cores: dict[str, AsyncConfigView] = {}  # namespace -> its one view

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

    def _core(self, namespace: str) -> AsyncConfigView:
        self._service.check()
        if namespace not in self._cores:
            self._cores[namespace] = AsyncConfigView(self._service.live(namespace), self._remote)
        return self._cores[namespace]


class AsyncFakeClient(_Fake):
    """Stands for an AsyncClient. `documents` maps each namespace -> its first version's document."""

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
        self._service.close()


class FakeClient(_Fake):
    """Stands for a Client. `documents` maps each namespace -> its first version's document."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        super().__init__(documents)
        self._views: dict[str, ConfigView] = {}  # namespace -> its one view

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

    def close(self) -> None:
        """End the waits for changes. Idempotent."""
        self._service.close()


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
