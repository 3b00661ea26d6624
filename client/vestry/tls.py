"""TLS on the way to a daemon: whom to believe that it is the daemon, and what to show it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import grpc

from vestry.errors import VestryError

AnyPath = str | os.PathLike[str]

_CA: Final = "VESTRY_TLS_CA"
_CERTIFICATE: Final = "VESTRY_TLS_CERTIFICATE"
_KEY: Final = "VESTRY_TLS_KEY"
_SERVER_NAME: Final = "VESTRY_TLS_SERVER_NAME"

_HANDSHAKES: Final = (  # a part of gRPC's details, which are all that it tells (grpcio 1.85) -> what it means
    ("CERTIFICATE_VERIFY_FAILED", "its certificate has expired, or is not from the CA that was named"),
    ("BAD_SIGNATURE", "its certificate is from another CA of the same name as the one that was named"),
    ("Hostname Verification Check failed", "its certificate is for another host, so its name must be given"),
    ("WRONG_VERSION_NUMBER", "it doesn't speak TLS there"),
    ("Socket closed", "it closed the connection, as it does when it wants TLS or another client certificate"),
)


class TlsUnusable(VestryError):
    """A connection can't be made with the TLS settings, or the files, that were given."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"TLS can't be used: {problem}")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a client speaks TLS.

    `ca` holds the certificates of the CAs that may vouch for the daemon, in PEM; for the public ones name the system's
    bundle. `certificate`, then those of the CAs between it and a root, and its `key` are shown to a daemon that asks who
    calls. `server_name` is what the daemon's certificate must be for, when that is not the host of the address.

    The files are read when a channel is made: a client that outlives its certificate must be made anew.
    """

    ca: AnyPath
    certificate: AnyPath | None = None
    key: AnyPath | None = None
    server_name: str = ""

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return what $VESTRY_TLS_CA, _CERTIFICATE, _KEY and _SERVER_NAME say; None when none is set, or all are empty.

        Raises TlsUnusable when they lack the CA.
        """
        given = {name: os.environ.get(name, "") for name in (_CA, _CERTIFICATE, _KEY, _SERVER_NAME)}
        if not any(given.values()):
            return None
        if not given[_CA]:
            others = " and ".join(name for name, value in given.items() if value)
            raise TlsUnusable(f"{others} needs {_CA} beside it, the certificate of the CA that vouches for the daemon")
        return cls(given[_CA], given[_CERTIFICATE] or None, given[_KEY] or None, given[_SERVER_NAME])

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials for a channel, after reading and checking the files. Raises TlsUnusable."""
        if (self.certificate is None) != (self.key is None):
            raise TlsUnusable("a certificate and its key go together: name both, or neither")
        roots = _read(self.ca)
        _check_ca(self.ca)
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(roots)
        certificate, key = _read(self.certificate), _read(self.key)
        _check_pair(self.certificate, self.key)
        return grpc.ssl_channel_credentials(roots, private_key=key, certificate_chain=certificate)

    def options(self) -> list[tuple[str, str | int]]:
        """Return the channel's options that say which name the daemon's certificate must be for."""
        if not self.server_name:
            return []
        return [("grpc.ssl_target_name_override", self.server_name), ("grpc.default_authority", self.server_name)]


def handshake_problem(details: str) -> str:
    """Say what stood between TLS and the daemon, by the details of gRPC's UNAVAILABLE; nothing when they don't tell."""
    return next((meaning for part, meaning in _HANDSHAKES if part in details), "")


def _read(path: AnyPath) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{path} can't be read: {error.strerror}") from error


def _check_ca(path: AnyPath) -> None:
    import ssl  # noqa: PLC0415 - a Python may lack it, and plain connections need none

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsUnusable(f"{path} doesn't hold CA certificates in PEM") from error


def _check_pair(certificate: AnyPath, key: AnyPath) -> None:
    """Raise TlsUnusable unless the two belong together. gRPC would only fail to connect, and not say why."""
    import ssl  # noqa: PLC0415 - see above

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=_refuse_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(f"{key} is not the key of the certificate in {certificate}") from error
        raise TlsUnusable(f"{certificate} and {key} are not a certificate and its key in PEM") from error


def _refuse_passphrase() -> str:
    raise TlsUnusable("the key is encrypted: store it without a passphrase, readable by its owner alone")
