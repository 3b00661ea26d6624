"""Who calls, by the certificate that the peer showed.

gRPC has verified the chain and the dates when the connection began. A connection may outlive both the certificate and its
good name, so what can change is looked at again at each call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from vestry import certificate_names
from vestryd.domain.clock import Clock
from vestryd.domain.errors import CredentialsInvalid
from vestryd.domain.identity import Address, Caller, Via
from vestryd.transports.revocation import RevocationList, serial_text

MAX_CACHED = 1024
SECONDS_BETWEEN_LOOKS = 0.25  # at the CRL's file: calls are many, and a stream must end within a second

_CREDENTIAL = "certificate "  # and the serial


@dataclass(frozen=True, slots=True)
class _Shown:
    """The caller that a certificate speaks for, and when that is true."""

    caller: Caller
    not_before: datetime
    not_after: datetime


class Certificates:
    """Makes callers of certificates. For the event loop's thread; lives as long as the server.

    A certificate is revoked when its serial is on the CRL. Serials are random, so the CA need not be compared as well.
    """

    def __init__(self, client_ca: Path, crl: Path | None, *, clock: Clock) -> None:
        """Raises TlsUnusable when the CRL can't be used."""
        self._clock = clock
        self._crl = RevocationList(crl, client_ca, clock=clock) if crl is not None else None
        self._next_look = 0.0
        self._revoked: frozenset[str] = frozenset()
        self._look()

    @property
    def problem(self) -> str:
        """What is wrong with the CRL; empty when all is well. Looks at its file."""
        return self._crl.problem if self._crl is not None else ""

    def caller(self, certificate: bytes, address: Address | None) -> Caller:
        """Return who shows this certificate, in PEM, from this address. Raises CredentialsInvalid."""
        caller = caller_of(certificate, address, self._clock.now())
        self._check_revoked(caller)
        return caller

    def recheck(self, caller: Caller) -> None:
        """Raise CredentialsInvalid once a caller's certificate has expired or is revoked. For streams, twice a second."""
        if caller.expires is not None and self._clock.now() >= caller.expires:
            raise _expired(caller.expires)
        self._check_revoked(caller)

    def _check_revoked(self, caller: Caller) -> None:
        if self._clock.monotonic() >= self._next_look:
            self._look()
        if caller.credential.removeprefix(_CREDENTIAL) in self._revoked:
            raise CredentialsInvalid("the certificate is revoked")

    def _look(self) -> None:
        self._next_look = self._clock.monotonic() + SECONDS_BETWEEN_LOOKS
        if self._crl is not None:
            self._revoked = self._crl.serials()


def caller_of(pem: bytes, address: Address | None, now: datetime) -> Caller:
    """Return the caller that a certificate speaks for at this time. Raises CredentialsInvalid.

    A SPIFFE ID is a name by itself. Without one every DNS name is an identity, and the first of them the caller's name;
    without either the subject's common name is.
    """
    shown = _read(pem, address)
    if now >= shown.not_after:
        raise _expired(shown.not_after)
    if now < shown.not_before:
        raise CredentialsInvalid(f"the certificate is not valid before {shown.not_before.isoformat()}")
    return shown.caller


@lru_cache(maxsize=MAX_CACHED)
def _read(pem: bytes, address: Address | None) -> _Shown:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = _names(certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CredentialsInvalid(f"the certificate can't be used to name a caller: {error}") from error
    caller = Caller(
        names[0],
        Via.CERTIFICATE,
        identities=frozenset(names),
        credential=_CREDENTIAL + serial_text(certificate.serial_number),
        expires=certificate.not_valid_after_utc,
        address=address,
    )
    return _Shown(caller, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the identities that a certificate gives its bearer, the name first. Raises ValueError."""
    uris, hosts = _alternative_names(certificate)
    if any(uri.lower().startswith("spiffe:") for uri in uris):
        if len(uris) > 1:
            raise ValueError("beside a SPIFFE ID it has another URI")  # X509-SVID.md, section 2
        return [certificate_names.spiffe_id(uris[0])]
    if hosts:
        return [f"dns:{certificate_names.dns_name(host)}" for host in hosts]
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if not common:
        raise ValueError("it has no SPIFFE ID, no DNS name and no common name")
    if len(common) > 1 or not isinstance(common[0].value, str):
        raise ValueError("it has several common names, or one that is no text")
    return [f"cn:{certificate_names.common_name(common[0].value)}"]


def _alternative_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """Return the URIs and the DNS names of the extension subjectAltName."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)


def _expired(when: datetime) -> CredentialsInvalid:
    return CredentialsInvalid(f"the certificate expired at {when.isoformat()}")
