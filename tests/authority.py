"""A small CA for tests, which also issues what a decent one would not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FOR_SERVERS = (ExtendedKeyUsageOID.SERVER_AUTH,)
FOR_CLIENTS = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both as an administrator would, and return where."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
        replace(key, self.key_pem, mode=0o600)
        replace(certificate, self.pem)
        return certificate, key


class Authority:
    """A CA whose key is made on first use."""

    def __init__(self, name: str = "Test CA") -> None:
        self.name = _name(name)

    @cached_property
    def root(self) -> Issued:
        """Its own certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self.name, self.name, key, begin=-HOUR, end=DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return Issued(builder.sign(key, SHA256()), key)

    def issue(
        self,
        common_name: str | None = "web",
        *,
        names: Sequence[x509.GeneralName] = (),
        usage: Sequence[x509.ObjectIdentifier] = FOR_CLIENTS,
        begin: timedelta = -HOUR,
        end: timedelta = DAY,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Issued:
        """Issue a certificate that is valid from `begin` to `end`, counted from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self.name, key, begin=begin, end=end)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        return Issued(builder.sign(self.root.key, SHA256()), key)

    def server(self, *, begin: timedelta = -HOUR, end: timedelta = DAY) -> Issued:
        """Issue a certificate for a server on localhost."""
        return self.issue("server", names=[x509.DNSName("localhost")], usage=FOR_SERVERS, begin=begin, end=end)

    def crl(self, revoked: Iterable[Issued] = (), *, due: timedelta = DAY, is_delta: bool = False) -> bytes:
        """Return a CRL in PEM."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self.name, now - 2 * DAY, now + due)
        for each in revoked:
            serial = each.certificate.serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now).build()
            )
        if is_delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        return builder.sign(self.root.key, SHA256()).public_bytes(Encoding.PEM)


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> Path:
    """Put a new file in the place of `path`, at once."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content)
    draft.chmod(mode)
    return draft.replace(path)


def _name(common_name: str | None) -> x509.Name:
    return x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    *,
    begin: timedelta,
    end: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now + begin,
        now + end,
    )
