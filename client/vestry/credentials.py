"""Where a client's bearer token comes from.

The first of: what the program says, $VESTRY_TOKEN, $VESTRY_TOKEN_FILE, and on a unix socket the daemon's auth socket, which
knows every process of this host. No `repr` here holds a token, and none is ever logged.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

from vestry.auth_socket import LocalToken, fetch, fetch_async, path_beside
from vestry.errors import CredentialsUnusable

TOKEN: Final = "VESTRY_TOKEN"
TOKEN_FILE: Final = "VESTRY_TOKEN_FILE"

_MAX_SECONDS: Final = 5.0  # for the auth socket to answer
_RENEWED_AFTER: Final = 0.8  # of a token's life
_SENDABLE: Final = re.compile(r"[!-~]{1,8000}")
_MAX_FILE_BYTES: Final = 16 * 1024


class Credentials(Protocol):
    """Gives the token for each call of one client. Any thread may ask, or the tasks of one event loop."""

    def token(self, *, timeout_seconds: float | None) -> str:
        """Return the token to send now, empty for none. May block as long. Raises CredentialsUnusable, Unavailable."""

    async def token_async(self, *, timeout_seconds: float | None) -> str:
        """Do as `token` does, without blocking."""

    def renew(self, refused: str | None = None) -> bool:
        """Hear that the daemon has refused a token (None: the newest); tell whether there may be another one."""


def choose(
    target: str, token: str | os.PathLike[str] | None = None, *, is_encrypted: bool = False
) -> Credentials | None:
    """Return where the tokens for `target` come from; None: nowhere. `token` is one, or the path of a file that holds one.

    Raises CredentialsUnusable, also rather than sending a token in the clear to another host.
    """
    given = _given(token)
    if target.startswith("unix:"):
        return given or SocketToken(path_beside(target))
    if given and not is_encrypted and not _is_loopback(target):
        raise CredentialsUnusable(f"it would go to {target} in the clear: use TLS, or an address on this host")
    return given


class FixedToken:
    """A token that never changes."""

    def __init__(self, text: str) -> None:
        """Raises CredentialsUnusable."""
        self._text = _check(text, "it")

    def token(self, *, timeout_seconds: float | None) -> str:  # noqa: ARG002 - the port's
        """Return it."""
        return self._text

    async def token_async(self, *, timeout_seconds: float | None) -> str:  # noqa: ARG002 - the port's
        """Return it."""
        return self._text

    def renew(self, refused: str | None = None) -> bool:  # noqa: ARG002 - the port's
        """Tell that there is no other."""
        return False


class TokenFile:
    """A token in a file, read again whenever the file changes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises CredentialsUnusable."""
        self._path = Path(path)
        self._text, self._stamp = self._read()

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def token(self, *, timeout_seconds: float | None) -> str:  # noqa: ARG002 - the port's
        """Return what the file holds now."""
        if self._find().stamp != self._stamp:
            self._text, self._stamp = self._read()
        return self._text

    async def token_async(self, *, timeout_seconds: float | None) -> str:
        """Return what the file holds now: a look at a local file takes microseconds."""
        return self.token(timeout_seconds=timeout_seconds)

    def renew(self, refused: str | None = None) -> bool:
        """Tell whether the file holds another token by now."""
        refused = self._text if refused is None else refused
        try:
            return self.token(timeout_seconds=None) != refused
        except CredentialsUnusable:
            return False

    def _find(self) -> _Found:
        try:
            return _Found.of(self._path.stat())
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error

    def _read(self) -> tuple[str, tuple[int, ...]]:
        try:
            with self._path.open("rb") as file:
                found = _Found.of(os.fstat(file.fileno()))
                if not found.is_regular:
                    raise self._unusable("it is not a file")
                if found.is_open_to_others:
                    raise self._unusable("others can read or write it: chmod 600")
                content = file.read(_MAX_FILE_BYTES)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        return _check(content.decode("ascii", "replace"), f"what {self._path} holds"), found.stamp

    def _unusable(self, problem: str) -> CredentialsUnusable:
        return CredentialsUnusable(f"the file {self._path}: {problem}")


class SocketToken:
    """A token from the auth socket, fetched when it is first needed and again before it ends."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = _NOTHING
        self._lock = threading.Lock()  # among threads
        self._turn = asyncio.Lock()  # among tasks

    def __repr__(self) -> str:
        return f"SocketToken({self._path!r})"

    def token(self, *, timeout_seconds: float | None) -> str:
        """Return a token that is good for a while; none without an auth socket."""
        kept = self._kept
        if time.monotonic() < kept.until:
            return kept.text
        with self._lock:
            if time.monotonic() >= self._kept.until:
                self._keep(fetch(self._path, timeout_seconds=_limit(timeout_seconds)))
            return self._kept.text

    async def token_async(self, *, timeout_seconds: float | None) -> str:
        """Do as `token` does, without blocking."""
        kept = self._kept
        if time.monotonic() < kept.until:
            return kept.text
        async with self._turn:
            if time.monotonic() >= self._kept.until:
                self._keep(await fetch_async(self._path, timeout_seconds=_limit(timeout_seconds)))
            return self._kept.text

    def renew(self, refused: str | None = None) -> bool:
        """Forget what was refused, e.g. because the daemon has started again: the socket gives another."""
        if refused is None or self._kept.text == refused:
            self._kept = _NOTHING
        return True

    def _keep(self, token: LocalToken | None) -> None:
        self._kept = _Kept(token.text, time.monotonic() + token.seconds * _RENEWED_AFTER) if token else _NOTHING


@dataclass(frozen=True, slots=True, repr=False)
class _Kept:
    """A token, and until when, on the monotonic clock, it is sent."""

    text: str
    until: float


_NOTHING: Final = _Kept("", 0.0)


@dataclass(frozen=True, slots=True)
class _Found:
    """What matters of a file's attributes."""

    stamp: tuple[int, ...]  # differs once the file was written or replaced
    is_regular: bool
    is_open_to_others: bool

    @classmethod
    def of(cls, status: os.stat_result) -> _Found:
        return cls(
            stamp=(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
            is_regular=stat.S_ISREG(status.st_mode),
            is_open_to_others=bool(status.st_mode & (stat.S_IROTH | stat.S_IWOTH)),
        )


def _given(token: str | os.PathLike[str] | None) -> Credentials | None:
    """Return the source that the program or its environment names, if one does."""
    if token is not None:
        return FixedToken(token) if isinstance(token, str) else TokenFile(token)
    if text := os.environ.get(TOKEN):
        return FixedToken(text)
    if path := os.environ.get(TOKEN_FILE):
        return TokenFile(path)
    return None


def _check(text: str, what: str) -> str:
    """Return the token that `text` is, less the white space around it. Raises CredentialsUnusable, without a word of it."""
    found = text.strip()
    if not _SENDABLE.fullmatch(found):
        raise CredentialsUnusable(f"{what} is no token: 1 to 8000 printable ASCII characters without a space")
    return found


def _limit(timeout_seconds: float | None) -> float:
    return _MAX_SECONDS if timeout_seconds is None else min(timeout_seconds, _MAX_SECONDS)


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
