"""What an attacker does to bytes, and a stretching of passphrases that is quick enough to try it all."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator

from vestryd.domain.sealing.binary import fields
from vestryd.domain.sealing.kdf import check_iterations

STORE = "5" * 32
OTHER_STORE = "6" * 32


def flipped(data: bytes) -> Iterator[bytes]:
    """Yield `data` with one bit flipped, for each of its bits."""
    for position in range(len(data) * 8):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        yield bytes(changed)


def cut_or_grown(data: bytes) -> Iterator[bytes]:
    """Yield each beginning of `data`, each end of it, and `data` with a byte more."""
    for length in range(len(data)):
        yield data[:length]
        yield data[len(data) - length :]
    yield data + b"\0"
    yield b"\0" + data


def tampered(data: bytes) -> Iterator[bytes]:
    """Yield everything that the other two do."""
    yield from flipped(data)
    yield from cut_or_grown(data)


def tells(text: str, key: bytes) -> bool:
    """Return whether a text gives a key away."""
    return key.hex() in text or repr(key)[2:-1] in text or str(list(key))[1:-1] in text


def told(error: BaseException) -> str:
    """Return all that is printed of an error."""
    return f"{error}{error!r}{''.join(traceback.format_exception(error))}"


def quick_stretch(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    """Return a key of the passphrase, its salt and its iterations, as `kdf.stretch` does, but at once."""
    check_iterations(iterations)
    return hashlib.sha256(fields(passphrase, salt, str(iterations))).digest()
