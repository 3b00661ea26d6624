"""What can be set, and what it is when nobody sets it.

A setting's key is its path in these dataclasses (`listen.tcp`); its type, its range and its default stand here and
nowhere else. config/vestryd.toml explains each to people; tests/test_settings.py proves that it leaves none out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from vestryd.settings.checks import (
    Between,
    environment_name,
    not_empty,
    socket_mode,
    socket_path,
    tcp_address,
)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients reach the daemon: on a unix socket, on TCP, or both. With a certificate and a key, TCP is TLS."""

    unix: Annotated[str, socket_path] = "/run/vestry/vestry.sock"
    unix_mode: Annotated[str, socket_mode] = "0660"
    unix_group: str = ""
    tcp: Annotated[str, tcp_address] = "127.0.0.1:8378"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tls_crl: Path | None = None

    @property
    def unix_mode_bits(self) -> int:
        """Return `unix_mode` as chmod takes it."""
        return int(self.unix_mode, 8)


@dataclass(frozen=True, slots=True)
class Store:
    """Where all state is kept."""

    kind: Literal["sqlite", "memory"] = "sqlite"
    path: Annotated[str, not_empty] = "vestry.db"
    history_revisions: Annotated[int, Between(100, 10_000_000)] = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration tree, and how changes in it are noticed."""

    directory: Path = Path()
    debounce_milliseconds: Annotated[int, Between(0, 60_000)] = 200
    poll_seconds: Annotated[float, Between(0.05, 86_400)] = 10


@dataclass(frozen=True, slots=True)
class Watch:
    """The streams on which clients hear of changes."""

    heartbeat_seconds: Annotated[float, Between(0.05, 3_600)] = 10
    window_events: Annotated[int, Between(1, 1_000_000)] = 1024
    window_mebibytes: Annotated[int, Between(1, 65_536)] = 16


@dataclass(frozen=True, slots=True)
class History:
    """How much of each document's past is kept."""

    versions: Annotated[int, Between(1, 1_000_000)] = 1000
    days: Annotated[float, Between(0, 36_500)] = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit log: when it begins a new file, and how often it signs for what it holds."""

    segment_mebibytes: Annotated[int, Between(1, 65_536)] = 16
    segment_days: Annotated[float, Between(0.01, 36_500)] = 30
    checkpoint_seconds: Annotated[float, Between(0.05, 86_400)] = 60


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens the secrets, and what is taken in among them from the daemon's environment when it starts."""

    unlock_key_file: Path | None = None
    from_environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may cost."""

    request_bytes: Annotated[int, Between(65_536, 64 * 1024 * 1024)] = 4 * 1024 * 1024
    deadline_seconds: Annotated[float, Between(0.05, 3_600)] = 30
    drain_seconds: Annotated[float, Between(0, 3_600)] = 4


@dataclass(frozen=True, slots=True)
class Log:
    """What the daemon says on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Paths are absolute once loaded; `config.directory` is that of the settings file."""

    environment: Annotated[str, environment_name] = "development"
    state_directory: Path = Path("/var/lib/vestry")
    listen: Listen = field(default_factory=Listen)
    store: Store = field(default_factory=Store)
    config: Config = field(default_factory=Config)
    watch: Watch = field(default_factory=Watch)
    history: History = field(default_factory=History)
    audit: Audit = field(default_factory=Audit)
    secrets: Secrets = field(default_factory=Secrets)
    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)

    @property
    def store_path(self) -> Path:
        """Return where the store's file is; `store.path` may be relative to the state directory."""
        return self.state_directory / self.store.path

    @property
    def audit_directory(self) -> Path:
        """Return where the audit log's files are."""
        return self.state_directory / "audit"
