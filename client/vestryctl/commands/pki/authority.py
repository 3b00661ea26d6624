"""A small CA that lives in a directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vestryctl.commands.pki import building
from vestryctl.commands.pki.files import (
    CA,
    CA_KEY,
    CERTIFICATE,
    CRL,
    ISSUED,
    KEY,
    locked,
    point,
    put_directory,
    put_file,
    told,
)
from vestryctl.commands.pki.leaves import (
    Leaf,
    alternative_names_of,
    common_name_of,
    described,
    kind_of,
    serial_of,
)
from vestryctl.failures import Failure


def create(directory: Path, *, name: str, days: int, now: datetime) -> Leaf:
    """Make a CA in a directory that is empty or doesn't exist. Raises Failure, and there is nothing new then."""
    directory = directory.absolute()
    key = building.new_key()
    certificate = building.root(key, name, now=now, days=days)
    crl = building.revocations((), previous=None, now=now, issuer=certificate, issuer_key=key)
    files = {CA_KEY: building.key_pem(key), CA: building.pem(certificate), CRL: building.pem(crl)}
    with told(directory, to="make"):
        if directory.is_dir() and any(directory.iterdir()):
            raise Failure(f"can't make a CA in {directory}: it is not empty. Name a new directory")
        put_directory(directory, files, inner=ISSUED)
    return described(certificate, "valid")


@contextmanager
def opened(directory: Path, *, now: datetime, needs_key: bool = True) -> Iterator[Authority]:
    """Open the CA in a directory, for one command at a time. Raises Failure when there is none, or it can't be used."""
    with told(directory, to="use"):
        if not (directory / CA).exists():
            raise Failure(f"there is no CA in {directory}: make one with 'vestryctl pki init {directory}'")
        with locked(directory):
            yield Authority(directory, now=now, key=_load_key(directory) if needs_key else None)


class Authority:
    """A CA that is open: its certificate, what it has issued and revoked, and perhaps its key.

    Its methods raise Failure when they can't do what they are asked, OSError when the system is in the way.
    """

    def __init__(self, directory: Path, *, now: datetime, key: ec.EllipticCurvePrivateKey | None) -> None:
        """Raises Failure, OSError."""
        self._directory = directory
        self._now = now
        self._key = key
        self._certificate = _load_certificate(directory / CA)
        self._crl = _load_crl(directory / CRL)
        if key is None:
            return
        if key.public_key() != self._certificate.public_key():
            raise Failure(f"{directory / CA_KEY} is not the key of {directory / CA}: bring the right one back")
        if now >= self._certificate.not_valid_after_utc:
            ended = self._certificate.not_valid_after_utc
            raise Failure(f"the CA in {directory} expired at {ended}: make a new one, in another directory")

    def issue(
        self, name: str, *, kind: str, spiffe: str | None, dns: Sequence[str], ip: Sequence[str], days: int
    ) -> Leaf:
        """Make a key and a certificate under a new name."""
        if (self._directory / name).is_symlink() or (self._directory / name).exists():
            raise Failure(f"there is a {name!r} already: 'vestryctl pki renew' replaces it, or choose another name")
        return self._put(name, kind, building.alternative_names(spiffe, dns, ip), timedelta(days=days))

    def renew(self, name: str, *, days: int | None) -> Leaf:
        """Make another key and certificate for a name in the place of those that it has, with the same names.

        They last so many days, or as long as the old ones did.
        """
        old = (self._directory / name).resolve()
        certificate = self._current(name)
        same = certificate.not_valid_after_utc - certificate.not_valid_before_utc - building.BACKDATING
        life = timedelta(days=days) if days is not None else same
        leaf = self._put(name, kind_of(certificate), alternative_names_of(certificate), life)
        (old / KEY).unlink(missing_ok=True)  # nobody needs it any more, and nobody should find it
        return leaf

    def revoke(self, name: str) -> list[str]:
        """Revoke what was issued for a name and could still be used, and return its serials."""
        issued = [each for each in self._issued() if common_name_of(each) == name]
        if not issued:
            raise self._unknown(name)
        found = [each for each in issued if self._is_good(each)]
        if not found:
            raise Failure(f"nothing of {name!r} could be revoked: it is all expired or revoked already")
        crl = building.revocations(
            (each.serial_number for each in found),
            previous=self._crl,
            now=self._now,
            issuer=self._certificate,
            issuer_key=self._signing_key(),
        )
        put_file(self._directory / CRL, building.pem(crl))
        self._crl = crl
        return [serial_of(each) for each in found]

    def leaves(self) -> list[Leaf]:
        """Return the CA's own certificate, then all that it issued: by name, what is in use last."""
        issued = sorted(
            self._issued(), key=lambda each: (common_name_of(each), self._is_current(each), each.not_valid_before_utc)
        )
        return [described(each, self._state(each)) for each in (self._certificate, *issued)]

    def _put(self, name: str, kind: str, names: x509.SubjectAlternativeName | None, life: timedelta) -> Leaf:
        """Make a key and a certificate, and let the name point to them."""
        end = self._now + life
        if end > self._certificate.not_valid_after_utc:
            left = (self._certificate.not_valid_after_utc - self._now).days
            raise Failure(f"a certificate can't outlive its CA, which has {left} days left: give fewer --days")
        key = building.new_key()
        certificate = building.leaf(
            key,
            name,
            kind=kind,
            names=names,
            begin=self._now - building.BACKDATING,
            end=end,
            issuer=self._certificate,
            issuer_key=self._signing_key(),
        )
        place = _place_of(certificate)
        files = {KEY: building.key_pem(key), CERTIFICATE: building.pem(certificate)}
        put_directory(self._directory.absolute() / place, files)
        point(self._directory / name, place)
        return described(certificate, "valid")

    def _current(self, name: str) -> x509.Certificate:
        try:
            return _load_certificate(self._directory / name / CERTIFICATE)
        except FileNotFoundError as error:
            raise self._unknown(name) from error

    def _unknown(self, name: str) -> Failure:
        return Failure(f"the CA in {self._directory} has issued nothing under the name {name!r}")

    def _issued(self) -> Iterable[x509.Certificate]:
        return (_load_certificate(path) for path in (self._directory / ISSUED).glob(f"[!.]*/{CERTIFICATE}"))

    def _state(self, certificate: x509.Certificate) -> str:
        if self._is_revoked(certificate):
            return "revoked"
        if self._now >= certificate.not_valid_after_utc:
            return "expired"
        return "valid" if self._is_current(certificate) else "replaced"

    def _is_current(self, certificate: x509.Certificate) -> bool:
        """Tell whether a certificate is the one in use under its name."""
        used = (self._directory / common_name_of(certificate)).resolve()
        return certificate == self._certificate or used == (self._directory / _place_of(certificate)).resolve()

    def _is_good(self, certificate: x509.Certificate) -> bool:
        return self._now < certificate.not_valid_after_utc and not self._is_revoked(certificate)

    def _is_revoked(self, certificate: x509.Certificate) -> bool:
        return self._crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        assert self._key is not None, "this command opens the CA with its key"
        return self._key


def _place_of(certificate: x509.Certificate) -> str:
    return f"{ISSUED}/{common_name_of(certificate)}-{serial_of(certificate)}"


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise Failure(f"{path} doesn't hold a certificate: bring the right file back") from error


def _load_crl(path: Path) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(path.read_bytes())
    except ValueError as error:
        raise Failure(f"{path} doesn't hold a list of revoked certificates: bring the right file back") from error


def _load_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    path = directory / CA_KEY
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise Failure(f"the CA's key {path} is missing: bring it back from where it is kept") from error
    except (ValueError, TypeError) as error:
        raise Failure(f"{path} doesn't hold a private key: bring the right file back") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Failure(f"{path} holds a key of another kind than 'vestryctl pki init' makes: bring the right file back")
    return key
