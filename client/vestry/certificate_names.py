"""The names by which a certificate may call its bearer, and what they must look like.

The daemon knows a caller by them, and `vestryctl pki` issues no others. One rule for both, on the standard library alone.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 253  # of a DNS name (RFC 1035) and of a common name
MAX_SPIFFE_BYTES: Final = 2048  # SPIFFE-ID.md, section 2.3

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?P<path>(?:/[A-Za-z0-9._-]+)*)")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def spiffe_id(text: str) -> str:
    """Return `text` when it is the SPIFFE ID of a workload, after SPIFFE-ID.md. Raises ValueError with what is wrong."""
    match = _SPIFFE.fullmatch(text) if len(text) <= MAX_SPIFFE_BYTES else None
    if match is None or {".", ".."} & set(match["path"].split("/")):
        raise ValueError("a SPIFFE ID is spiffe://trust-domain/path, with no other characters than a-z 0-9 . _ - and /")
    if not match["path"]:
        raise ValueError("a SPIFFE ID without a path is a trust domain's, not a workload's")
    return text


def dns_name(text: str) -> str:
    """Return `text` in lower case when it is the name of one host. Raises ValueError with what is wrong."""
    name = text.lower()
    if not text.isascii() or len(name) > MAX_CHARACTERS or not _DNS.fullmatch(name):
        raise ValueError(f"a DNS name is at most {MAX_CHARACTERS} characters of a-z 0-9 . _ and -, without a wildcard")
    return name


def common_name(text: str) -> str:
    """Return `text` when it can name a caller. Raises ValueError with what is wrong."""
    if not text or len(text) > MAX_CHARACTERS:
        raise ValueError(f"a common name is 1 to {MAX_CHARACTERS} characters")
    if not text.isprintable() or text != text.strip():
        raise ValueError("a common name has no control characters, and no space at its ends")
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("a common name is Unicode in NFC, so that it can be compared")
    return text
