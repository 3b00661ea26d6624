"""A gRPC client that costs little: HTTP/2 with everything encoded beforehand.

A client on grpcio needs more time for a call than some of the servers here, so its own speed would be measured. This one
writes the same bytes for each call, and of an answer it reads the frames, not the headers. It is the same for all servers.
"""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from typing import NamedTuple

TIMEOUT_SECONDS = 20.0
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 2**16 - 1

# Frame types and flags: RFC 9113, section 6.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
NO_ERROR = bytes(4)  # the reason of a reset that a server may send behind a complete answer (section 8.1)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
POST_OVER_HTTP = b"\x83\x86"  # HPACK's static table has these two whole (RFC 7541, appendix A)
FIRST_DYNAMIC = 62  # the index of the newest entry of HPACK's dynamic table
INDEXED = 0x80


class Frame(NamedTuple):
    """One frame of an answer."""

    kind: int
    is_last: bool
    payload: bytes


class ServerRefused(Exception):
    """The server ended a connection, or a call without an answer."""


class Connection:
    """A connection to a server on loopback, for calls of one method. Blocking."""

    def __init__(self, port: int, path: str, token: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers, self._later_headers = _headers(path, f"127.0.0.1:{port}", token)
        self._next_stream = 1
        self._unread = b""
        windows = _frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
        windows += _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - DEFAULT_WINDOW))
        self.socket.sendall(PREFACE + windows)

    def begin(self, *messages: bytes, half_close: bool = True) -> None:
        """Begin a call with each of the messages; without `half_close`, the server is to expect more of them."""
        frames = []
        for message in messages:
            frames.append(_frame(HEADERS, END_HEADERS, self._next_stream, self._headers))
            flags = END_STREAM if half_close else 0
            frames.append(_frame(DATA, flags, self._next_stream, b"\0" + struct.pack(">I", len(message)) + message))
            self._next_stream += 2
            self._headers = self._later_headers
        self.socket.sendall(b"".join(frames))

    def receive(self) -> list[Frame]:
        """Wait for bytes, and return the frames of answers that they complete. Raises ServerRefused."""
        received = self.socket.recv(65536)
        if not received:
            raise ServerRefused("the server closed the connection")
        unread = self._unread + received
        frames = []
        start = 0
        while len(unread) - start >= 9:
            end = start + 9 + int.from_bytes(unread[start : start + 3])
            if end > len(unread):
                break
            kind, flags, payload = unread[start + 3], unread[start + 4], unread[start + 9 : end]
            if kind in {DATA, HEADERS}:
                frames.append(Frame(kind, bool(flags & END_STREAM), payload))
            else:
                self._obey(kind, flags, payload)
            start = end
        self._unread = unread[start:]
        return frames

    def ask(self, message: bytes) -> bytes:
        """Make one call, and return the message that answers it. Raises ServerRefused."""
        self.begin(message)
        answer, is_over = b"", False
        while not is_over:
            for frame in self.receive():
                answer += frame.payload if frame.kind == DATA else b""
                is_over = frame.is_last
        if not answer:
            raise ServerRefused("the call failed")
        return answer[5:]

    def close(self) -> None:
        """Close the connection, and with it what it carries."""
        self.socket.close()

    def _obey(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self.socket.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(_frame(PING, ACK, 0, payload))
        elif kind == GOAWAY or (kind == RST_STREAM and payload != NO_ERROR):
            raise ServerRefused(f"the server reset a call or the connection: {payload!r}")


def ask(port: int, path: str, message: bytes, token: str = "") -> bytes:
    """Make one call on a connection of its own, and return the message that answers it. Raises ServerRefused."""
    with closing(Connection(port, path, token)) as connection:
        return connection.ask(message)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def _headers(path: str, authority: str, token: str) -> tuple[bytes, bytes]:
    """Return the headers of a connection's first call, which enter HPACK's dynamic table, and those of later calls."""
    fields = [
        b"\x44" + _text(path),
        b"\x41" + _text(authority),
        b"\x5f" + _text("application/grpc"),
        b"\x40" + _text("te") + _text("trailers"),
    ]
    if token:
        fields.append(b"\x40" + _text("authorization") + _text(f"Bearer {token}"))
    indexes = range(FIRST_DYNAMIC + len(fields) - 1, FIRST_DYNAMIC - 1, -1)  # oldest first
    return POST_OVER_HTTP + b"".join(fields), POST_OVER_HTTP + bytes(INDEXED | index for index in indexes)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
