"""A secret version as a `*.enc` file of its own, encrypted under the passphrase of an export.

The file's name proves nothing: namespace, name and version are inside, encrypted with the value. docs/secrets-format.md
has the format byte by byte.
"""

from __future__ import annotations

import hmac
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from vestryd.domain.errors import InvalidField, UnlockRefused
from vestryd.domain.jsonvalue import Json, canonical
from vestryd.domain.sealing import aead
from vestryd.domain.sealing.aead import KEY_BYTES, NONCE_BYTES, SEALED_KEY_BYTES, TAG_BYTES, Random
from vestryd.domain.sealing.binary import fields
from vestryd.domain.sealing.kdf import MAX_ITERATIONS, MIN_ITERATIONS, SALT_BYTES, derive, stretch

_DOMAIN = "vestry/export/v1"
_MAGIC = b"vestry secret 1\n"
_PBKDF2_SHA256 = 2
_HEADER = struct.Struct(f">16sBBI{SALT_BYTES}s{KEY_BYTES}s")  # magic, algorithm, KDF, iterations, salt, check
_WRAP = slice(_HEADER.size, _HEADER.size + SEALED_KEY_BYTES)  # the data key, sealed
_PAYLOAD = slice(_WRAP.stop, None)  # what is exported, sealed


@dataclass(frozen=True, slots=True)
class ExportedSecret:
    """What is in a file: a value, where it comes from, and a few facts about it as a JSON object."""

    namespace: str
    name: str
    version: int
    value: bytes = field(repr=False)
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportKey:
    """What the passphrase of an export makes of a salt: one for all the files of the export."""

    salt: bytes = field(repr=False)
    iterations: int
    wrapping_key: bytes = field(repr=False)
    check: bytes = field(repr=False)

    @classmethod
    def derive(cls, passphrase: bytes, salt: bytes, *, iterations: int = MIN_ITERATIONS) -> ExportKey:
        """Return the key; `salt` is 16 random bytes. Blocks for 0.14 s or more.

        Raises UnlockRefused when the passphrase or the iterations can't be used.
        """
        key = stretch(passphrase, salt, iterations)
        return cls(salt, iterations, derive(key, _DOMAIN, "wrap", salt=salt), derive(key, _DOMAIN, "check", salt=salt))


def encrypt(key: ExportKey, secret: ExportedSecret, *, random: Random = os.urandom) -> bytes:
    """Return the file of a secret version."""
    header = _HEADER.pack(_MAGIC, aead.AES_256_GCM, _PBKDF2_SHA256, key.iterations, key.salt, key.check)
    data_key = random(KEY_BYTES)
    wrap = aead.seal(key.wrapping_key, data_key, fields(_DOMAIN, "wrap", header), random)
    return header + wrap + aead.seal(data_key, _encode(secret), fields(_DOMAIN, "payload", header), random)


class ExportReader:
    """Reads the files of an export. Lives as long as the import, and keeps the keys that it derived until then.

    All the keys of an import together take no more than MAX_ITERATIONS, as the files say how dear each of them is.
    """

    def __init__(self, passphrase: bytes) -> None:
        self._passphrase = passphrase
        self._keys: dict[tuple[bytes, int], ExportKey] = {}  # salt and iterations -> key

    def read(self, file: bytes) -> ExportedSecret:
        """Return what is in a file. Blocks for 0.14 s or more when it is the first with its salt.

        Raises InvalidField when it isn't such a file, or was changed; UnlockRefused when the passphrase doesn't open it.
        """
        if len(file) < _PAYLOAD.start + NONCE_BYTES + TAG_BYTES or not file.startswith(_MAGIC):
            raise InvalidField("file", "this is not an exported secret, or its end is missing")
        header = file[: _HEADER.size]
        _, algorithm, kdf, iterations, salt, check = _HEADER.unpack(header)
        if (algorithm, kdf) != (aead.AES_256_GCM, _PBKDF2_SHA256):
            raise InvalidField("file", "this was exported by a newer release, or was changed")
        key = self._key(salt, iterations)
        if not hmac.compare_digest(key.check, check):
            raise UnlockRefused("the passphrase doesn't open the file: it is another one, or the file was changed")
        try:
            data_key = aead.unseal(key.wrapping_key, file[_WRAP], fields(_DOMAIN, "wrap", header))
            return _decode(aead.unseal(data_key, file[_PAYLOAD], fields(_DOMAIN, "payload", header)))
        except (ValueError, RecursionError):
            raise InvalidField("file", "this exported secret was changed: export it again") from None

    def _key(self, salt: bytes, iterations: int) -> ExportKey:
        if (salt, iterations) not in self._keys:
            if self._keys and iterations + sum(spent for _, spent in self._keys) > MAX_ITERATIONS:
                raise InvalidField("file", "it takes too many iterations beside the others: import it by itself")
            self._keys[salt, iterations] = ExportKey.derive(self._passphrase, salt, iterations=iterations)
        return self._keys[salt, iterations]


def _encode(secret: ExportedSecret) -> bytes:
    about = {
        "metadata": dict(secret.metadata),
        "name": secret.name,
        "namespace": secret.namespace,
        "version": secret.version,
    }
    return fields(canonical(about)) + secret.value


def _decode(payload: bytes) -> ExportedSecret:
    end = 4 + int.from_bytes(payload[:4])
    match json.loads(payload[4:end]):
        case {"namespace": str(namespace), "name": str(name), "version": int(version), "metadata": dict(metadata)}:
            return ExportedSecret(namespace, name, version, payload[end:], metadata)
    raise ValueError("an exported secret says what it is in another way")
