"""The client library of Vestry: live views of a fleet's configuration, and its secrets at hand."""

import vestry.fork_support  # noqa: F401 - before anything else imports grpc
from vestry._version import __version__
from vestry.backoff import ReconnectPolicy
from vestry.channel import connect
from vestry.client import AsyncClient, Client
from vestry.config import AsyncConfigView
from vestry.errors import (
    AlreadyExists,
    CacheUnusable,
    CallInCallback,
    ClientClosed,
    CredentialsUnusable,
    DeadlineExceeded,
    FailedPrecondition,
    ForkedProcess,
    Internal,
    Invalid,
    InvalidPath,
    InvalidTarget,
    LimitExceeded,
    MissingKey,
    NotFound,
    PermissionDenied,
    RemoteError,
    SecretNotText,
    SecretWithheld,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VersionMismatch,
    VestryError,
    Violation,
    WrongEventLoop,
    WrongType,
)
from vestry.live import Subscription
from vestry.rotations import RotationSubscription
from vestry.secrets import AsyncSecretHandle, AsyncSecrets
from vestry.snapshot import Change, Snapshot
from vestry.sync_config import ConfigView
from vestry.sync_secrets import SecretHandle, Secrets
from vestry.tls import Tls, TlsUnusable

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncConfigView",
    "AsyncSecretHandle",
    "AsyncSecrets",
    "CacheUnusable",
    "CallInCallback",
    "Change",
    "Client",
    "ClientClosed",
    "ConfigView",
    "CredentialsUnusable",
    "DeadlineExceeded",
    "FailedPrecondition",
    "ForkedProcess",
    "Internal",
    "Invalid",
    "InvalidPath",
    "InvalidTarget",
    "LimitExceeded",
    "MissingKey",
    "NotFound",
    "PermissionDenied",
    "ReconnectPolicy",
    "RemoteError",
    "RotationSubscription",
    "SecretHandle",
    "SecretNotText",
    "SecretWithheld",
    "Secrets",
    "Snapshot",
    "Subscription",
    "Tls",
    "TlsUnusable",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "VersionMismatch",
    "VestryError",
    "Violation",
    "WrongEventLoop",
    "WrongType",
    "__version__",
    "connect",
]
