"""Looks into the directory of a CA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509

from ctl.running import Ctl


def certificate_in(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    return certificate.extensions.get_extension_for_class(kind).value


def files_in(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def states(ctl: Ctl, ca: Path, name: str) -> list[str]:
    return [each["state"] for each in ctl.json("pki", "list", str(ca)) if each["name"] == name]
