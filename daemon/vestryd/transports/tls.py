"""The server's side of TLS: its certificate and key, and whose client certificates it accepts.

gRPC asks for a client certificate or doesn't; it can't leave the choice to the client. So with a client CA every caller on
the port needs a certificate, and without one nobody's is looked at. gRPC has no option for the lowest version of TLS
either: its environment is how TLS 1.2 is kept out (`grpc_environment`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from vestryd.domain.clock import Clock
from vestryd.transports.certificates import Certificates
from vestryd.transports.tls_files import Followed, TlsUnusable, certificates_of, read, read_private

_CURVES = (ec.SECP256R1, ec.SECP384R1)  # with others gRPC's own clients fail in the handshake (grpcio 1.85, tried)
_MIN_RSA_BITS = 2048
_LAST_PART = 10  # a certificate with less than a tenth of its life before it should have been renewed


@dataclass(frozen=True, slots=True)
class _Identity:
    """What the server shows, and from when to when it may."""

    configuration: grpc.ServerCertificateConfiguration
    not_before: datetime
    not_after: datetime


class ServerTls:
    """The server's credentials, kept up to date with their files. Lives as long as the server.

    `certificate` holds the server's certificate, then those of the CAs between it and a root. With `client_ca`, one CA or
    several, clients must show a certificate, which `certificates` makes a caller of; `crl` lists those that were revoked.
    A file that is replaced counts from the next handshake on; one that is broken, half-written or doesn't match is reported
    by `problem`, and what was read before stays.
    """

    def __init__(
        self, certificate: Path, key: Path, *, client_ca: Path | None = None, crl: Path | None = None, clock: Clock
    ) -> None:
        """Raises TlsUnusable for what it can't serve with now."""
        if crl is not None and client_ca is None:
            raise TlsUnusable(str(crl), "there is no client CA that could have signed it: name that as well")
        self.certificates = Certificates(client_ca, crl, clock=clock) if client_ca is not None else None
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._clock = clock
        self._files = Followed([path for path in (certificate, key, client_ca) if path is not None], self._load)
        self._lock = Lock()
        self._served = self._files.current()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials for `add_secure_port`."""
        return grpc.dynamic_ssl_server_credentials(
            self._served.configuration,
            self._fetch,  # type: ignore[arg-type]  # the stubs don't know that None means no change
            require_client_authentication=self._client_ca is not None,
        )

    @property
    def expires(self) -> datetime:
        """When the server's certificate ends."""
        return self._files.current().not_after

    @property
    def problem(self) -> str:
        """What an administrator should look at; empty when all is well. Looks at the files."""
        identity = self._files.current()
        problems = [
            self._files.problem,
            _age_problem(self._certificate, identity, self._clock.now()),
            self.certificates.problem if self.certificates is not None else "",
        ]
        return "; ".join(filter(None, problems))

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is new since the last handshake, None for nothing. Called by gRPC's threads, at each handshake."""
        with self._lock:
            identity = self._files.current()
            if identity is self._served:
                return None
            self._served = identity
            return identity.configuration

    def _load(self) -> _Identity:
        """Read the files. Raises TlsUnusable."""
        now = self._clock.now()
        chain, key = read(self._certificate), read_private(self._key)
        leaf = certificates_of(chain, self._certificate)[0]
        _check_key(self._key, key, leaf, self._certificate)
        _check_leaf(self._certificate, leaf, now)
        roots = None
        if self._client_ca is not None:
            roots = read(self._client_ca)
            _check_client_ca(self._client_ca, roots, now)
        configuration = grpc.ssl_server_certificate_configuration([(key, chain)], roots)
        return _Identity(configuration, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _check_key(path: Path, content: bytes, leaf: x509.Certificate, certificate: Path) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise TlsUnusable(str(path), "it is encrypted: store it without a passphrase, for the daemon alone") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsUnusable(str(path), "it doesn't hold a private key in PEM") from error
    if key.public_key() != leaf.public_key():
        raise TlsUnusable(str(path), f"it is not the key of the certificate in {certificate}: name the two that belong")
    match key:
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, _CURVES):
            return
        case rsa.RSAPrivateKey() if key.key_size >= _MIN_RSA_BITS:
            return
    raise TlsUnusable(str(path), f"gRPC serves with P-256, P-384 or RSA from {_MIN_RSA_BITS} bits on: make such a key")


def _check_leaf(path: Path, leaf: x509.Certificate, now: datetime) -> None:
    if now >= leaf.not_valid_after_utc:
        raise TlsUnusable(str(path), f"it expired at {leaf.not_valid_after_utc.isoformat()}: renew it")
    if now < leaf.not_valid_before_utc:
        begin = leaf.not_valid_before_utc.isoformat()
        raise TlsUnusable(str(path), f"it is not valid before {begin}: is this machine's clock right?")
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension) as error:
        raise TlsUnusable(str(path), "its extensions can't be read") from error
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise TlsUnusable(str(path), "it is not for servers (extended key usage): issue one that is")


def _check_client_ca(path: Path, content: bytes, now: datetime) -> None:
    if all(now >= certificate.not_valid_after_utc for certificate in certificates_of(content, path)):
        raise TlsUnusable(str(path), "it has expired, so that no client could connect: renew it")


def _age_problem(path: Path, identity: _Identity, now: datetime) -> str:
    life, left = identity.not_after - identity.not_before, identity.not_after - now
    if left * _LAST_PART > life:
        return ""
    verb = "ends" if now < identity.not_after else "ended"
    return f"the server's certificate {path} {verb} at {identity.not_after.isoformat()}: renew it"
