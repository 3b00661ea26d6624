"""The certificates that the client CA has revoked: its CRL, from a file (RFC 5280, section 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

from vestryd.domain.clock import Clock
from vestryd.transports.tls_files import Followed, TlsUnusable, certificates_of, read

_BEGIN = b"-----BEGIN X509 CRL-----"
_PEM = re.compile(_BEGIN + rb".+?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Revoked:
    """The serials on the lists, and the time by which there should be newer lists (None: they don't say)."""

    serials: frozenset[str]
    due: datetime | None


class RevocationList:
    """A CRL's file, read again when it changes; also several CRLs in one. Lives as long as the server.

    Each must be signed by a certificate in `client_ca`. A file that is broken or signed by somebody else is a `problem`, and
    what was revoked before stays revoked. So does it when a list is overdue: whoever keeps it from being renewed can't undo
    a revocation, nor stop the daemon.
    """

    def __init__(self, crl: Path, client_ca: Path, *, clock: Clock) -> None:
        """Raises TlsUnusable."""
        self._path = crl
        self._client_ca = client_ca
        self._clock = clock
        self._files = Followed((crl, client_ca), self._load)

    def serials(self) -> frozenset[str]:
        """Return the serials that are revoked, as `serial_text` spells them. Looks at the file."""
        return self._files.current().serials

    @property
    def problem(self) -> str:
        """What is wrong with the file; empty when all is well. Looks at the file."""
        due = self._files.current().due
        if self._files.problem:
            return self._files.problem
        is_overdue = due is not None and self._clock.now() >= due
        return f"the CRL {self._path} should have been renewed by {due}: put a new one there" if is_overdue else ""

    def _load(self) -> _Revoked:
        """Read the files. Raises TlsUnusable."""
        issuers = certificates_of(read(self._client_ca), self._client_ca)
        content = read(self._path)
        blocks = _PEM.findall(content)
        if not blocks or len(blocks) != content.count(_BEGIN):
            raise TlsUnusable(str(self._path), "it doesn't hold a CRL in PEM, or half of one")
        lists = [_parse(block, self._path) for block in blocks]
        if not all(any(_has_signed(issuer, each) for issuer in issuers) for each in lists):
            raise TlsUnusable(str(self._path), f"no certificate in {self._client_ca} has signed it")
        return _Revoked(
            frozenset(serial_text(revoked.serial_number) for each in lists for revoked in each),
            min((each.next_update_utc for each in lists if each.next_update_utc is not None), default=None),
        )


def serial_text(serial: int) -> str:
    """Return a certificate's serial as people write it: hexadecimal digits."""
    return f"{serial:x}"


def _parse(block: bytes, path: Path) -> x509.CertificateRevocationList:
    """Return the CRL, once it is known to be a whole one: a delta or a partial list says so in a critical extension."""
    try:
        found = x509.load_pem_x509_crl(block)
        is_partial = any(extension.critical for extension in found.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise TlsUnusable(str(path), f"it holds a CRL that can't be read: {error}") from error
    if is_partial:
        raise TlsUnusable(str(path), "it holds a delta or a partial CRL: put the CA's complete one there")
    return found


def _has_signed(issuer: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    if issuer.subject != crl.issuer:
        return False
    try:
        return crl.is_signature_valid(cast("CertificateIssuerPublicKeyTypes", issuer.public_key()))
    except (TypeError, ValueError, UnsupportedAlgorithm):  # its key is of another kind than the signature
        return False
