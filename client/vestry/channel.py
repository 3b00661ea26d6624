"""How a channel to a daemon is made: addresses, options, and which calls gRPC itself may repeat."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Final

import grpc
import grpc.aio

from vestry import bearer
from vestry.credentials import Credentials
from vestry.credentials import choose as choose_credentials
from vestry.errors import ForkedProcess, InvalidTarget
from vestry.tls import Tls, TlsUnusable

DEFAULT_TARGET: Final = "unix:/run/vestry/vestry.sock"

# What repeating can't hurt. A write is repeated by who makes it, under its request_id (vestry.remote).
IDEMPOTENT_METHODS: Final = {  # service -> methods
    "vestry.v1.ConfigService": (
        "GetConfig",
        "ExplainConfig",
        "ValidateConfig",
        "ListConfigVersions",
        "GetConfigVersion",
        "DiffConfigVersions",
        "GetConfigSchema",
        "ListNamespaces",
        "GetConfigStatus",
    ),
    "vestry.v1.AdminService": ("GetStatus",),
    "vestry.v1.AccessService": (
        "WhoAmI",
        "CheckAccess",
        "ExplainAccess",
        "GetPolicy",
        "ValidatePolicy",
        "ListPolicyVersions",
        "DiffPolicyVersions",
    ),
    "vestry.v1.TokenService": ("ListTokens",),
    "vestry.v1.SecretsService": (
        "GetSecret",
        "AccessSecret",
        "ListSecrets",
        "ListSecretVersions",
        "GetRotationStatus",
        "RewrapStatus",
    ),
    "vestry.v1.SealService": ("GetSealStatus", "ListUnlockSlots"),
}

_MEBIBYTE = 1024 * 1024
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method}
                for service, methods in IDEMPOTENT_METHODS.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

OPTIONS: Final[Sequence[tuple[str, str | int]]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # A peer that hangs is found after 13 s. Without ping_timeout_ms it takes 69 (grpcio 1.85, measured).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    # A watcher sends nothing but pings: without this they would stop after two.
    ("grpc.http2.max_pings_without_data", 0),
    # The watch spreads its own attempts; gRPC's must not add minutes to them.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in spite of its name: how long one attempt to connect may take
    # A document is 1 MiB at most; a version travels with its four layers.
    ("grpc.max_receive_message_length", 16 * _MEBIBYTE),
    # The daemon is on this host or beside it, never behind the environment's web proxy.
    ("grpc.enable_http_proxy", 0),
)


class _Process:
    """The process in which gRPC's asyncio side first ran, if any: like that, one for each process."""

    first_id: int | None = None


def resolve_target(target: str | None = None) -> str:
    """Return the address to use: `target`, else $VESTRY_ADDRESS, else DEFAULT_TARGET.

    It is `unix:/absolute/path` or `host:port`, where a host may be an IPv6 address in brackets. Raises InvalidTarget.
    """
    chosen = target if target is not None else os.environ.get("VESTRY_ADDRESS") or DEFAULT_TARGET
    problem = _problem(chosen)
    if problem:
        raise InvalidTarget(chosen, problem)
    return chosen


def connect(
    target: str | None = None, *, tls: Tls | None = None, token: str | os.PathLike[str] | None = None
) -> grpc.Channel:
    """Return a synchronous channel with this library's options, for the generated stubs.

    It speaks TLS when `tls` says how, or else the environment does (Tls.from_environment) and the target isn't a unix
    socket; it never falls back to plain text. Its calls bring `token`, or the one in the file of that path, or what else
    vestry.credentials finds. It connects when it is first used; close it. Each call should bring a `timeout`, and what it
    raises goes through errors.from_rpc_error. Raises InvalidTarget, TlsUnusable, CredentialsUnusable, ForkedProcess.
    """
    _refuse_after_fork()
    address = resolve_target(target)
    tls = choose_tls(address, tls)
    credentials = choose_credentials(address, token, is_encrypted=tls is not None)
    if tls is None:
        channel = grpc.insecure_channel(address, options=list(OPTIONS))
    else:
        channel = grpc.secure_channel(address, tls.credentials(), options=[*OPTIONS, *tls.options()])
    return bearer.intercept(channel, credentials)


def connect_async(target: str, *, tls: Tls | None = None, credentials: Credentials | None = None) -> grpc.aio.Channel:
    """Return a channel for the running event loop, with or without TLS as `connect`. Raises TlsUnusable, ForkedProcess.

    Its calls bring what `credentials` give; who passes some has chosen them for this target and this `tls`.
    """
    _refuse_after_fork()
    _Process.first_id = os.getpid()
    tls = choose_tls(target, tls)
    interceptors = bearer.interceptors(credentials)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=list(OPTIONS), interceptors=interceptors)
    options = [*OPTIONS, *tls.options()]
    return grpc.aio.secure_channel(target, tls.credentials(), options=options, interceptors=interceptors)


def choose_tls(target: str, tls: Tls | None = None) -> Tls | None:
    """Return how to speak TLS, None for a unix socket: there the kernel says who is at the other end."""
    is_socket = target.startswith("unix:")
    if is_socket and tls is not None:
        raise TlsUnusable(f"vestryd doesn't speak it on a unix socket: connect to {target!r} without")
    return tls or (None if is_socket else Tls.from_environment())


def _refuse_after_fork() -> None:
    """Raise ForkedProcess in the child of a process that used grpc.aio: there its calls would hang for ever."""
    if _Process.first_id not in (None, os.getpid()):
        raise ForkedProcess


def _problem(target: str) -> str:
    """Say what is wrong with an address; nothing when it is usable."""
    if not target:
        return "it is empty"
    if target.startswith("unix:"):
        path = target.removeprefix("unix:").removeprefix("//")
        return "" if path.startswith("/") and path != "/" else "the path of a unix socket must be absolute"
    if target.startswith("/"):
        return "a socket's path needs unix: before it"
    if "://" in target:
        return "it is a URL"
    match = _HOST_AND_PORT.fullmatch(target)
    if match is None:
        return "it has no port, or a host that is none"
    return "" if 0 < int(match["port"]) <= _MAX_PORT else f"a port is 1 to {_MAX_PORT}"
