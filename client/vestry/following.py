"""What every watch of a client does: keep one stream for all its namespaces, and open it again whenever it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

import grpc

from vestry.backoff import ReconnectPolicy
from vestry.bearer import RENEWABLE
from vestry.credentials import Credentials
from vestry.errors import (
    ClientClosed,
    Invalid,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    RemoteError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VestryError,
    from_rpc_error,
)
from vestry.v1 import common_pb2

MAX_NAMESPACES: Final = 100  # of one watch (config.proto, secrets.proto)

_SHUTTING_DOWN: Final = "SHUTTING_DOWN"
_TOKEN_REASONS: Final = ("RESUME_TOKEN_FOREIGN", "RESUME_TOKEN_INVALID")
_CREDENTIALS_ENDED: Final = "CREDENTIALS_ENDED"
_CREDENTIAL_REASONS: Final = (_CREDENTIALS_ENDED, *RENEWABLE)
_END_REASONS: Final[Mapping[int, str]] = {
    common_pb2.WATCH_END_REASON_SHUTTING_DOWN: _SHUTTING_DOWN,
    common_pb2.WATCH_END_REASON_CREDENTIALS_ENDED: _CREDENTIALS_ENDED,
}
_REFUSALS: Final = (Invalid, NotFound, PermissionDenied, Unauthenticated, Unimplemented)

log = logging.getLogger(__name__)


class Followed(Protocol):
    """What is known of one namespace. `refusal` is the daemon's last word, that this caller can't have it."""

    refusal: VestryError | None

    def connected(self) -> None:
        """Say that it follows the daemon from now on."""

    def disconnected(self, error: VestryError) -> None:
        """Say that the daemon is lost."""

    def refuse(self, error: VestryError) -> None:
        """Say that the daemon won't serve this namespace."""

    def end(self) -> None:
        """Let everybody go who waits: the client is closed."""


F = TypeVar("F", bound=Followed)


class Following(ABC, Generic[F]):
    """Keeps the namespaces that were added in step with the daemon. Belongs to one event loop; `run` is its one task.

    A resume token speaks for the namespaces that it was given for; so when one is added, the watch starts anew for all.
    """

    noun: ClassVar[str]  # the first word of its log events

    def __init__(self, *, target: str, policy: ReconnectPolicy, credentials: Credentials | None = None) -> None:
        self._target = target
        self._policy = policy
        self._credentials = credentials
        self._has_renewed = False  # since the daemon last took a token
        self._lives: dict[str, F] = {}  # namespace -> what is known of it
        self._token = ""
        self._token_speaks_for: frozenset[str] = frozenset()
        self._failures = 0  # in a row
        self._is_ended = False
        self._restart = asyncio.Event()
        self._silence: asyncio.Timeout | None = None  # of the open stream: ends it when the daemon says nothing

    @abstractmethod
    def _make(self, namespace: str) -> F:
        """Return what is known of a namespace that is added: nothing yet."""

    @abstractmethod
    def _open(
        self, namespaces: list[str], *, token: str, timeout_seconds: float | None = None
    ) -> grpc.aio.UnaryStreamCall[Any, Any]:
        """Open a stream."""

    @abstractmethod
    def _take_event(self, message: Any) -> None:
        """Put one message in force, that isn't the last of its stream."""

    @abstractmethod
    def _set_aside(self, namespace: str, error: RemoteError) -> bool:
        """Take note that the daemon refuses a namespace; tell whether it is to be asked again later."""

    def _begin(self, live: F) -> None:
        """Do what a namespace needs before its whole state is sent."""

    def _hear(self, live: F) -> None:
        """Do what a namespace needs whenever the daemon has spoken."""

    def _after_loss(self, live: F) -> None:
        """Do what a namespace needs whenever the daemon can't be had."""

    def add(self, namespace: str) -> F:
        """Return what is known of `namespace`, and watch it from now on. Raises LimitExceeded, ClientClosed."""
        if self._is_ended:
            raise ClientClosed
        if namespace not in self._lives:
            if len(self._lives) >= MAX_NAMESPACES:
                raise LimitExceeded(f"one client can watch {MAX_NAMESPACES} namespaces: use another for {namespace!r}")
            self._lives[namespace] = self._make(namespace)
            self._start_anew()
        return self._lives[namespace]

    def end(self) -> None:
        """Let everybody go who waits for a namespace: the client is closed, and `run` cancelled."""
        self._is_ended = True
        for live in self._lives.values():
            live.end()

    async def run(self) -> None:
        """Follow the daemon until cancelled."""
        while True:
            self._restart.clear()
            namespaces = frozenset(name for name, live in self._lives.items() if live.refusal is None)
            if not namespaces:
                await self._restart.wait()
                continue
            try:
                await self._follow(namespaces)
            except RemoteError as error:
                await self._recover(namespaces, error)
            except Exception as error:
                log.exception("%s.watch_failed target=%s", self.noun, self._target)
                await self._recover(namespaces, RemoteError(f"the watch of {self._target} failed here: {error!r}"))

    async def _follow(self, namespaces: frozenset[str]) -> None:
        """Open one stream and take what it brings. Returns when a restart is asked for, raises when the stream ends."""
        if not namespaces <= self._token_speaks_for:
            self._token = ""
        if not self._token:
            for namespace in namespaces:
                self._begin(self._lives[namespace])
        loop = asyncio.get_running_loop()
        call = self._open(sorted(namespaces), token=self._token)
        try:
            async with asyncio.timeout(self._policy.silence_seconds) as self._silence:
                async for message in call:
                    if self._restart.is_set():
                        return
                    self._silence.reschedule(loop.time() + self._policy.silence_seconds)
                    self._take(message, namespaces)
        except TimeoutError:
            if self._restart.is_set():
                return
            raise self._lost(f"has said nothing for {self._policy.silence_seconds:g} s") from None
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from error
        finally:
            self._silence = None
            call.cancel()
        raise self._lost("ended the watch")

    def _take(self, message: Any, namespaces: frozenset[str]) -> None:
        """Put one message in force. Its token counts once that is done."""
        if message.WhichOneof("event") == "end":
            raise self._lost(f"ended the watch: {message.end.message}", reason=_end_reason(message.end))
        self._take_event(message)
        if message.resume_token:
            self._token, self._token_speaks_for = message.resume_token, namespaces
            if self._failures:
                log.info("%s.watch_regained target=%s failures=%d", self.noun, self._target, self._failures)
            self._failures = 0
            self._has_renewed = False
        for namespace in namespaces:
            live = self._lives[namespace]
            if message.resume_token:
                live.connected()
            self._hear(live)

    async def _recover(self, namespaces: frozenset[str], error: RemoteError) -> None:
        """Do what `error` asks for, so that the next stream has a better chance."""
        if error.reason in _TOKEN_REASONS and self._token:
            log.warning("%s.watch_starts_anew target=%s reason=%s", self.noun, self._target, error.reason)
            self._token = ""
            return
        if self._renews(error):
            log.info("%s.watch_renews_token target=%s", self.noun, self._target)
            return
        if isinstance(error, _REFUSALS) and await self._set_refused_aside(namespaces, error):
            return
        if not self._failures:
            log.warning("%s.watch_lost target=%s error=%s", self.noun, self._target, error)
        for live in self._lives.values():
            live.disconnected(error)
            self._after_loss(live)
        delay = self._policy.delay_seconds(0 if error.reason == _SHUTTING_DOWN else self._failures + 1)
        self._failures += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._restart.wait()

    def _renews(self, error: RemoteError) -> bool:
        """Tell whether to go on with another token; once, lest a daemon that takes none is asked without end."""
        if error.reason not in _CREDENTIAL_REASONS or self._credentials is None or self._has_renewed:
            return False
        self._has_renewed = self._credentials.renew()
        return self._has_renewed

    async def _set_refused_aside(self, namespaces: frozenset[str], error: RemoteError) -> bool:
        """Find out for which namespaces a stream was refused, and go on without them. False when for none alone."""
        is_for_all = len(namespaces) == 1 or isinstance(error, Unauthenticated)
        refusals = dict.fromkeys(namespaces, error) if is_for_all else await self._ask_alone(namespaces)
        for namespace, refusal in refusals.items():
            live = self._lives[namespace]
            live.refuse(refusal)
            if self._set_aside(namespace, refusal):
                asyncio.get_running_loop().call_later(self._policy.refusal_seconds, self._reconsider, live)
            else:
                del self._lives[namespace]
        return bool(refusals)

    async def _ask_alone(self, namespaces: frozenset[str]) -> dict[str, RemoteError]:
        """Return the namespaces that the daemon refuses to watch even alone, and why."""
        refusals: dict[str, RemoteError] = {}
        for namespace in sorted(namespaces):
            call = self._open([namespace], token="", timeout_seconds=self._policy.silence_seconds)
            try:
                await call.read()
            except grpc.RpcError as error:
                refusal = from_rpc_error(error, target=self._target)
                if isinstance(refusal, _REFUSALS):
                    refusals[namespace] = refusal
            except RemoteError as error:  # there is no token to ask with
                if isinstance(error, _REFUSALS):
                    refusals[namespace] = error
            finally:
                call.cancel()
        return refusals

    def _reconsider(self, live: F) -> None:
        live.refusal = None
        self._start_anew()

    def _start_anew(self) -> None:
        """Have `run` look again at which namespaces to watch, whatever it waits for now."""
        self._restart.set()
        if self._silence is not None and not self._silence.expired():
            self._silence.reschedule(asyncio.get_running_loop().time())

    def _lost(self, what: str, *, reason: str = "") -> Unavailable:
        return Unavailable(f"vestryd at {self._target} {what}", reason=reason)


def _end_reason(end: common_pb2.WatchEnd) -> str:
    return _END_REASONS.get(end.reason, "")
