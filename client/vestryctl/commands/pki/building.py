"""Keys, certificates and lists of revoked ones, as a small CA makes them (RFC 5280). Touches no file.

Keys are ECDSA on P-256: gRPC's TLS doesn't take part in a handshake with Ed25519 (grpcio 1.85, tried).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATING: Final = timedelta(minutes=5)  # for machines whose clock is behind
USAGES: Final = {  # kind -> what its certificate is for
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
_SIGNING: Final = ("key_cert_sign", "crl_sign")
_USES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    *_SIGNING,
    "encipher_only",
    "decipher_only",
)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in PEM, in the clear."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(made: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Return a certificate or a list in PEM."""
    return made.public_bytes(Encoding.PEM)


def root(key: ec.EllipticCurvePrivateKey, name: str, *, now: datetime, days: int) -> x509.Certificate:
    """Return the CA's own certificate: it may sign certificates, but no further CA's, and lists of revoked ones."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(key, subject, subject, begin=now - BACKDATING, end=now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(*_SIGNING), critical=True)
        .sign(key, SHA256())
    )


def leaf(
    key: ec.EllipticCurvePrivateKey,
    name: str,
    *,
    kind: str,
    names: x509.SubjectAlternativeName | None,
    begin: datetime,
    end: datetime,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Return a certificate for a server or a client."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(key, subject, issuer.subject, begin=begin, end=end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[kind]]), critical=False)
        .add_extension(_issued_by(issuer), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, SHA256())


def alternative_names(spiffe: str | None, dns: Sequence[str], ip: Sequence[str]) -> x509.SubjectAlternativeName | None:
    """Return the names that a certificate has beside its subject, None without any."""
    names = [
        *([x509.UniformResourceIdentifier(spiffe)] if spiffe else []),
        *map(x509.DNSName, dns),
        *(x509.IPAddress(ip_address(address)) for address in ip),
    ]
    return x509.SubjectAlternativeName(names) if names else None


def revocations(
    serials: Iterable[int],
    *,
    previous: x509.CertificateRevocationList | None,
    now: datetime,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateRevocationList:
    """Return a list of the previous one's certificates and these.

    It counts until the CA ends: a new one is made when there is something to revoke, and not before.
    """
    number = 1
    builder = x509.CertificateRevocationListBuilder(issuer.subject, now - BACKDATING, issuer.not_valid_after_utc)
    if previous is not None:
        number += previous.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for revoked in previous:
            builder = builder.add_revoked_certificate(revoked)
    for serial in serials:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now).build())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    return builder.add_extension(_issued_by(issuer), critical=False).sign(issuer_key, SHA256())


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, *, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    public = key.public_key()
    builder = x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), begin, end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})
