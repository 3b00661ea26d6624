"""The auth socket of a daemon on this host: who connects is told by the kernel, and is given a token of minutes.

It lies beside the daemon's own socket, and gives one line of JSON to whoever connects.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final

from vestry.errors import CredentialsUnusable, Unavailable

SUFFIX: Final = ".auth"  # after the path of the daemon's socket
_MAX_LINE_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 16 * 1024
_BUSY_SECONDS: Final = 0.01  # between two attempts, while as many as the kernel lets wait are waiting


@dataclass(frozen=True, slots=True)
class LocalToken:
    """A token, whom it speaks for, and how long it is good from now on."""

    text: str = field(repr=False)
    caller: str
    seconds: float


def path_beside(target: str) -> str:
    """Return the auth socket's path for the target `unix:/path`."""
    return target.removeprefix("unix:").removeprefix("//") + SUFFIX


def fetch(path: str, *, timeout_seconds: float) -> LocalToken | None:
    """Return a token for this process; None when no daemon listens there. Blocks.

    Raises Unavailable when it doesn't answer, CredentialsUnusable when it refuses.
    """
    deadline = time.monotonic() + timeout_seconds
    with socket.socket(socket.AF_UNIX) as connection:
        content = b""
        try:
            _limit(connection, deadline)
            connection.connect(path)
            while (piece := connection.recv(_PIECE_BYTES)) and len(content) < _MAX_LINE_BYTES:
                content += piece
                _limit(connection, deadline)
        except (BlockingIOError, TimeoutError) as error:  # the kernel's word for a timeout is EAGAIN
            raise _silent(path) from error
        except OSError:
            return None  # the daemon's own socket will tell what is wrong
    return _read(content, path)


async def fetch_async(path: str, *, timeout_seconds: float) -> LocalToken | None:
    """Do as `fetch` does, without blocking."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's
        content = b""
        try:
            async with asyncio.timeout(timeout_seconds):
                await _connect(connection, path)
                while (piece := await loop.sock_recv(connection, _PIECE_BYTES)) and len(content) < _MAX_LINE_BYTES:
                    content += piece
        except TimeoutError as error:
            raise _silent(path) from error
        except OSError:
            return None
    return _read(content, path)


async def _connect(connection: socket.socket, path: str) -> None:
    """Connect; asyncio's own way takes the EAGAIN of a full queue for a connection that is on its way."""
    while True:
        try:
            return connection.connect(path)
        except BlockingIOError:
            await asyncio.sleep(_BUSY_SECONDS)


def _limit(connection: socket.socket, deadline: float) -> None:
    """Bound what the kernel waits for: also the wait in a full queue, which a timeout of Python's turns into an error."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    seconds = struct.pack("ll", int(remaining), int(remaining % 1 * 1e6) or 1)  # struct timeval; 0 would mean for ever
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)


def _read(content: bytes, path: str) -> LocalToken:
    if not content:
        raise Unavailable(f"vestryd's auth socket {path} is closed before it answers: try again")
    try:
        line = json.loads(content)
        if "error" in line:
            raise CredentialsUnusable(f"vestryd's auth socket {path} gives none: {line['error']}")
        return LocalToken(str(line["token"]), str(line["caller"]), float(line["expires_in_seconds"]))
    except (ValueError, KeyError, TypeError):
        pass  # the error would hold what was read
    raise CredentialsUnusable(f"what listens at {path} is no auth socket of vestryd")


def _silent(path: str) -> Unavailable:
    return Unavailable(f"vestryd's auth socket {path} doesn't answer: try again")
