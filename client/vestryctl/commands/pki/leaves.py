"""What people want to know of a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from vestryctl.commands.pki import building


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate, in a few words.

    `kind` is `ca`, `server` or `client`; `names` are those beside its subject's, with their scheme. `caller` is what a
    daemon calls a client. `state` is `valid`, `replaced`, `revoked` or `expired`.
    """

    name: str
    kind: str
    names: Sequence[str]
    caller: str
    serial: str
    expires: datetime
    state: str


def described(certificate: x509.Certificate, state: str) -> Leaf:
    """Return what people want to know of a certificate."""
    kind = kind_of(certificate)
    names = _names(certificate)
    common_name = common_name_of(certificate)
    callers = [name for scheme in ("spiffe:", "dns:") for name in names if name.startswith(scheme)]
    return Leaf(
        common_name,
        kind,
        names,
        caller=[*callers, f"cn:{common_name}"][0] if kind == "client" else "",
        serial=serial_of(certificate),
        expires=certificate.not_valid_after_utc,
        state=state,
    )


def kind_of(certificate: x509.Certificate) -> str:
    """Return whom a certificate is for."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "ca"
    return next(kind for kind, oid in building.USAGES.items() if oid in usage)


def alternative_names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """Return the names that a certificate has beside its subject, None without any."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def common_name_of(certificate: x509.Certificate) -> str:
    """Return the name under which a certificate was issued."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial in hexadecimal digits, as the daemon's log and policy spell it."""
    return f"{certificate.serial_number:x}"


def _names(certificate: x509.Certificate) -> list[str]:
    found = alternative_names_of(certificate)
    if found is None:
        return []
    return [
        *found.get_values_for_type(x509.UniformResourceIdentifier),
        *(f"dns:{name}" for name in found.get_values_for_type(x509.DNSName)),
        *(f"ip:{address}" for address in found.get_values_for_type(x509.IPAddress)),
    ]
