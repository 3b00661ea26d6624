"""Authenticated encryption: AES-256-GCM, each message with a random nonce before it."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SEALED_KEY_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES

AES_256_GCM = 1  # the algorithm byte of every format

Random = Callable[[int], bytes]  # gives that many unpredictable bytes; os.urandom, but in a test vector


def seal(key: bytes, plaintext: bytes, associated: bytes, random: Random) -> bytes:
    """Return a random nonce, the ciphertext and its tag. `associated` is authenticated with it, and not part of it."""
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Return the plaintext. Raises ValueError, which tells no more, unless `seal` made it with this key and `associated`."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise ValueError("this was not sealed here, or was changed") from None
