"""The auth socket: who connects is told by the kernel who they are, and gets a token that says so.

gRPC hides the uid of a unix socket's peer, so a client first connects here, reads one line of JSON, and sends its token with
its calls:

    {"caller": "user:alice", "expires_in_seconds": 600, "token": "vestryl_…"}      or      {"error": "…"}
"""

from __future__ import annotations

import asyncio
import errno
import grp
import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import structlog

from vestryd.domain.errors import AddressUnusable, LimitExceeded
from vestryd.domain.tokens.local import LocalTokens, caller_name
from vestryd.transports.aio import UnixSocket
from vestryd.transports.unix_sockets import MAX_PATH_BYTES, check_free, guard

SUFFIX = ".auth"  # after the path of the socket that the tokens are for
MAX_CONNECTIONS = 128  # at once; more are closed without an answer
MAX_GROUPS = 256  # of a caller: socket.getsockopt takes no larger buffer
NAMES_SECONDS = 5.0  # for the system's user database, which may be on another machine
NAMES_THREADS = 4

SO_PEERGROUPS = 59  # Linux 4.13, <asm-generic/socket.h>; the standard library doesn't name it
_PEERCRED = struct.Struct("iII")  # unix(7): struct ucred
_GID_BYTES = 4

log = structlog.get_logger("vestryd.auth")


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """The process at the other end, as it was when it connected."""

    process_id: int
    uid: int
    gids: frozenset[int]


class AuthSocket:
    """Mints tokens from `start` until `stop`. Its socket lies beside that of `unix`, for the same users."""

    def __init__(self, unix: UnixSocket, tokens: LocalTokens) -> None:
        self.path = unix.path.with_name(unix.path.name + SUFFIX)
        self._unix = unix
        self._tokens = tokens
        self._names = ThreadPoolExecutor(NAMES_THREADS, thread_name_prefix="auth-names")
        self._answers: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listen. Raises AddressUnusable."""
        check_free(self.path)
        listener = self._bind()
        try:
            guard(self.path, mode=self._unix.mode, group=self._unix.group)  # nobody can connect before it listens
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Connection(self._begin), sock=listener)
        except BaseException:
            listener.close()
            self.path.unlink(missing_ok=True)
            raise

    async def stop(self) -> None:
        """Stop listening, and drop the answers under way. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for answer in self._answers:
            answer.cancel()
        if self._answers:
            await asyncio.wait(self._answers)
        self._names.shutdown(wait=False, cancel_futures=True)

    def _bind(self) -> socket.socket:
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES:
            raise AddressUnusable(f"unix:{self.path}", f"the path is longer than {MAX_PATH_BYTES} bytes")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self.path.unlink(missing_ok=True)  # what a daemon that was killed has left behind
            listener.bind(str(self.path))
        except OSError as error:
            listener.close()
            raise AddressUnusable(f"unix:{self.path}", error.strerror or str(error)) from error
        return listener

    def _begin(self, transport: asyncio.WriteTransport) -> None:
        if len(self._answers) >= MAX_CONNECTIONS:
            log.warning("auth.overloaded", connections=len(self._answers))
            transport.abort()
            return
        answer = asyncio.get_running_loop().create_task(self._answer(transport))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, transport: asyncio.WriteTransport) -> None:
        """Send one line and close; the kernel takes it at once, whether the client reads or not."""
        try:
            line = await self._mint(transport.get_extra_info("socket"))
            if not transport.is_closing():  # the client may be gone
                transport.write(json.dumps(line).encode() + b"\n")
        finally:
            transport.close()

    async def _mint(self, connection: Any) -> dict[str, object]:
        try:
            peer = peer_of(connection)
            async with asyncio.timeout(NAMES_SECONDS):
                loop = asyncio.get_running_loop()
                user, groups = await loop.run_in_executor(self._names, names_of, peer.uid, peer.gids)
            token, _ = self._tokens.mint(peer.uid, user, groups)
        except (OSError, LimitExceeded) as error:  # a TimeoutError is an OSError
            problem = _problem(error)
            log.warning("auth.refused", problem=problem)
            return {"error": problem}
        caller = caller_name(peer.uid, user)
        log.debug("auth.minted", caller=caller, uid=peer.uid, process_id=peer.process_id)
        return {"caller": caller, "expires_in_seconds": self._tokens.lifetime_seconds, "token": token}


class _Connection(asyncio.Protocol):
    """A connection, which `begin` answers. What the client sends is not looked at."""

    def __init__(self, begin: Callable[[asyncio.WriteTransport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What a socket has; uvloop's own class says nothing of it.
        self._begin(cast("asyncio.WriteTransport", transport))


def peer_of(connection: Any) -> PeerProcess:
    """Return who is at the other end of a connection, as the kernel says. Raises OSError."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    process_id, uid, gid = _PEERCRED.unpack(credentials)
    others = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_GROUPS * _GID_BYTES)
    return PeerProcess(process_id, uid, frozenset({gid, *struct.unpack(f"{len(others) // _GID_BYTES}I", others)}))


def names_of(uid: int, gids: Iterable[int]) -> tuple[str, list[str]]:
    """Return the names of a user (empty: it has none) and of groups (`gid:1234` for one without). Blocks."""
    user = ""
    with suppress(KeyError, OSError):  # a user database that fails takes nobody's uid away
        user = _encodable(pwd.getpwuid(uid).pw_name)
    return user, [_group_name(gid) for gid in gids]


def _group_name(gid: int) -> str:
    with suppress(KeyError, OSError):
        if name := _encodable(grp.getgrgid(gid).gr_name):
            return name
    return f"gid:{gid}"


def _encodable(name: str) -> str:
    """Return `name`, nothing when its bytes are not UTF-8: no policy could spell it."""
    return name if name.isprintable() and not any("\ud800" <= letter <= "\udfff" for letter in name) else ""


def _problem(error: OSError | LimitExceeded) -> str:
    if isinstance(error, TimeoutError):
        return f"the system's user database did not answer within {NAMES_SECONDS:g} s: try again"
    if isinstance(error, OSError) and error.errno == errno.ERANGE:
        return f"you are in more than {MAX_GROUPS} groups: use a token that `vestryctl token create` makes"
    return str(error)
