"""Clients: where views come from."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from vestry.background import LoopThread
from vestry.backoff import ReconnectPolicy
from vestry.cache import Cache
from vestry.channel import choose_tls, resolve_target
from vestry.config import AsyncConfigView
from vestry.credentials import choose
from vestry.errors import ClientClosed, ForkedProcess, Invalid, Violation, WrongEventLoop
from vestry.secret_cache import DEFAULT_KEEPING, Keeping
from vestry.secrets import AsyncSecrets
from vestry.session import Session, Stubs
from vestry.sync_config import ConfigView
from vestry.sync_secrets import Secrets
from vestry.tls import Tls

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_NAMESPACE_RULE = "a name is 1 to 63 of a-z 0-9 - _ . and begins and ends with a letter or a digit"
_DEFAULT_POLICY = ReconnectPolicy()


class AsyncClient:
    """A connection to a daemon, for one event loop.

    `target` is `unix:/path` or `host:port`; by default $VESTRY_ADDRESS, else `unix:/run/vestry/vestry.sock`. `token`
    is the bearer token to send, or the path of a file that holds one; by default $VESTRY_TOKEN, else what the file at
    $VESTRY_TOKEN_FILE holds, else on a unix socket what the daemon itself gives to the processes of its host. `tls` says
    how to speak TLS on TCP; by default the environment does (Tls.from_environment), else it is plain text. `timeout` is
    in seconds: the longest wait for a namespace's first state, and the deadline of each call. With `cache_dir` the
    last known good state is kept there, in files that only this user can read, and a view can start from it while the
    daemon is away. A secret's value is kept in memory, never on disk, for `secret_cache_seconds` (0: not at all), and
    while the daemon can't be reached until it is `secret_stale_seconds` old.

    Raises InvalidTarget, TlsUnusable, CacheUnusable, and CredentialsUnusable: also rather than sending a token to another
    host in the clear.

    Making one touches no network: it opens when it is first used, in that event loop, and lives until `close`, or the
    end of `async with`. Views stay readable after that, and stand still.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | os.PathLike[str] | None = None,
        tls: Tls | None = None,
        timeout: float = 10.0,
        cache_dir: str | os.PathLike[str] | None = None,
        reconnect: ReconnectPolicy = _DEFAULT_POLICY,
        secret_cache_seconds: float = DEFAULT_KEEPING.fresh_seconds,
        secret_stale_seconds: float = DEFAULT_KEEPING.stale_seconds,
    ) -> None:
        self.target = resolve_target(target)
        self._tls = choose_tls(self.target, tls)
        self._credentials = choose(self.target, token, is_encrypted=self._tls is not None)
        self._timeout_seconds = timeout
        self._policy = reconnect
        self._keeping = Keeping(secret_cache_seconds, secret_stale_seconds)
        self._cache = Cache(Path(cache_dir), target=self.target) if cache_dir is not None else None
        if self._cache is not None:
            self._cache.prepare()
        self._session: Session | None = None
        self._views: dict[str, AsyncConfigView] = {}  # namespace -> its one view
        self._secrets: dict[str, AsyncSecrets] = {}  # namespace -> its secrets
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def stubs(self) -> Stubs:
        """The generated stubs, for calls that no view offers."""
        return self._open().stubs

    async def config(self, namespace: str = "default") -> AsyncConfigView:
        """Return the live view of a namespace, the same one each time; the first time, wait for its state.

        The state comes from the daemon or, while that is away, from the cache. Raises Unavailable when neither has it
        within the client's timeout; NotFound, Invalid, PermissionDenied or Unauthenticated when the daemon refuses, and
        views of other namespaces don't notice; LimitExceeded beyond 100 namespaces.
        """
        session = self._open()
        if namespace in self._views:
            return self._views[namespace]
        live = await session.follow(check_namespace(namespace))
        return self._views.setdefault(namespace, AsyncConfigView(live, session.remote))

    @property
    def secrets(self) -> AsyncSecrets:
        """The secrets of the namespace `default`, by name: `await client.secrets["db-password"].reveal()`."""
        return self.secrets_in("default")

    def secrets_in(self, namespace: str) -> AsyncSecrets:
        """Return the secrets of a namespace, by name. Raises Invalid for what can't be a namespace's name."""
        if namespace not in self._secrets:
            self._secrets[namespace] = AsyncSecrets(check_namespace(namespace), lambda: self._open().secrets)
        return self._secrets[namespace]

    async def close(self) -> None:
        """End the watch, the calls under way and the waits for changes, and save what is not cached yet. Idempotent.

        In a forked child it ends nothing: there is nothing that runs.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._session is not None and self._session.process_id == os.getpid():
            await self._session.close()

    def _check(self) -> None:
        """Raise when the client can't be used here and now."""
        if self._is_closed:
            raise ClientClosed
        if self._session is None:
            return
        if self._session.process_id != os.getpid():
            raise ForkedProcess
        if self._session.loop is not asyncio.get_running_loop():
            raise WrongEventLoop

    def _open(self) -> Session:
        self._check()
        if self._session is None:
            self._session = Session(
                target=self.target,
                credentials=self._credentials,
                timeout_seconds=self._timeout_seconds,
                policy=self._policy,
                cache=self._cache,
                tls=self._tls,
                keeping=self._keeping,
                check=self._check,
            )
        return self._session


class Client:
    """A connection to a daemon, for threads: AsyncClient's shape, run in a thread of its own.

    Takes, means and raises what AsyncClient does. Any thread may use it and its views; on_change callbacks run on the
    client's thread, and can't make calls of it (CallInCallback).

    It opens, and starts its thread, when it is first used. A server that forks its workers may therefore make it before
    the fork, as long as nothing uses it until after. One that was used before stays readable in the child, and raises
    ForkedProcess from everything else.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | os.PathLike[str] | None = None,
        tls: Tls | None = None,
        timeout: float = 10.0,
        cache_dir: str | os.PathLike[str] | None = None,
        reconnect: ReconnectPolicy = _DEFAULT_POLICY,
        secret_cache_seconds: float = DEFAULT_KEEPING.fresh_seconds,
        secret_stale_seconds: float = DEFAULT_KEEPING.stale_seconds,
    ) -> None:
        self._core = AsyncClient(
            target,
            token=token,
            tls=tls,
            timeout=timeout,
            cache_dir=cache_dir,
            reconnect=reconnect,
            secret_cache_seconds=secret_cache_seconds,
            secret_stale_seconds=secret_stale_seconds,
        )
        self._thread: LoopThread | None = None
        self._views: dict[str, ConfigView] = {}  # namespace -> its one view
        self._secrets: dict[str, Secrets] = {}  # namespace -> its secrets
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def target(self) -> str:
        """The daemon's address."""
        return self._core.target

    def config(self, namespace: str = "default") -> ConfigView:
        """Return the live view of a namespace, the same one each time. As AsyncClient.config; blocks the first time."""
        thread = self._open()
        thread.check()
        if namespace not in self._views:
            core_view = thread.run(lambda: self._core.config(namespace))
            self._views.setdefault(namespace, ConfigView(core_view, thread, owner=self))
        return self._views[namespace]

    @property
    def secrets(self) -> Secrets:
        """The secrets of the namespace `default`, by name: `client.secrets["db-password"].reveal()`."""
        return self.secrets_in("default")

    def secrets_in(self, namespace: str) -> Secrets:
        """Return the secrets of a namespace, by name. As AsyncClient.secrets_in."""
        if namespace not in self._secrets:
            secrets = Secrets(self._core.secrets_in(namespace), self._open, owner=self)
            self._secrets.setdefault(namespace, secrets)
        return self._secrets[namespace]

    def close(self) -> None:
        """End the watch, the calls under way, the waits for changes, and the thread. Idempotent."""
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.finish(self._core.close)

    def _open(self) -> LoopThread:
        thread = self._thread
        if thread is not None:
            return thread
        with self._lock:
            if self._is_closed:
                raise ClientClosed
            if self._thread is None:
                self._thread = LoopThread()
                # For a client that is collected, or still open when the process ends.
                weakref.finalize(self, self._thread.finish, self._core.close)
            return self._thread


def check_namespace(namespace: str) -> str:
    """Return `namespace` if that can be its name. Raises Invalid."""
    if not _NAMESPACE.fullmatch(namespace):
        violation = Violation("namespace", "pattern", _NAMESPACE_RULE)
        raise Invalid(f"{namespace!r} is no namespace: {_NAMESPACE_RULE}", violations=[violation])
    return namespace
