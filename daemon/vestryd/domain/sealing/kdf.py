"""Keys made from keys (HKDF) and from passphrases (PBKDF2), and what a passphrase must be like."""

from __future__ import annotations

import hashlib
import unicodedata

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vestryd.domain.errors import UnlockRefused
from vestryd.domain.sealing.aead import KEY_BYTES
from vestryd.domain.sealing.binary import fields

SALT_BYTES = 16
MIN_ITERATIONS = 600_000  # OWASP Password Storage Cheat Sheet, August 2026, for PBKDF2-HMAC-SHA256
MAX_ITERATIONS = 50_000_000  # some 12 s; more is an attack on whoever tries the passphrase
MIN_PASSPHRASE_CHARACTERS = 12
MAX_PASSPHRASE_CHARACTERS = 1024

_REFUSED_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})  # control, not assigned, for private use, half a pair


def derive(key: bytes, label: str, *context: str, salt: bytes = b"") -> bytes:
    """Return another key of 32 bytes: HKDF-SHA256 of `key`, its info being `label` and `context`, as `fields` joins them.

    `key` is random already, or comes from `stretch`.
    """
    if len(key) < KEY_BYTES:
        raise ValueError("no key is derived from fewer than 32 bytes")
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=fields(label, *context)).derive(key)


def stretch(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    """Return the key that a passphrase makes: PBKDF2-HMAC-SHA256. Blocks for 0.14 s and more, without the GIL.

    Raises UnlockRefused when the passphrase or the number of iterations can't be used.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError("a salt has 16 bytes")
    prepared = _prepare(passphrase)
    check_iterations(iterations)
    return hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations, KEY_BYTES)


def check_iterations(iterations: int) -> None:
    """Raise UnlockRefused when a passphrase can't be stretched so often: too cheap to guess, or too dear to open."""
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise UnlockRefused(
            f"{iterations} iterations of PBKDF2-HMAC-SHA256 can't be used: "
            f"{MIN_ITERATIONS} to {MAX_ITERATIONS} are allowed"
        )


def _prepare(passphrase: bytes) -> bytes:
    """Return a passphrase as RFC 8265 (OpaqueString) has it: every space is U+0020, and the whole is in NFC, in UTF-8.

    So it is the same one, however a keyboard or a system composes its accents.
    """
    text = passphrase.decode(errors="surrogateescape")  # what isn't UTF-8 becomes half a pair, which is refused below
    text = unicodedata.normalize("NFC", "".join(" " if unicodedata.category(c) == "Zs" else c for c in text))
    if not MIN_PASSPHRASE_CHARACTERS <= len(text) <= MAX_PASSPHRASE_CHARACTERS:
        raise UnlockRefused(
            f"the passphrase can't be used: it has {len(text)} characters, "
            f"{MIN_PASSPHRASE_CHARACTERS} to {MAX_PASSPHRASE_CHARACTERS} are allowed"
        )
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text):
        raise UnlockRefused(
            "the passphrase can't be used: it is not UTF-8 text, or it has a line break, another control character, "
            "or a character that Unicode has not assigned"
        )
    return text.encode()
