"""What makes the values of secrets: passwords, random bytes as text, UUIDs and key pairs."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import Json

MIN_PASSWORD, MAX_PASSWORD = 8, 1024  # characters
MIN_BYTES, MAX_BYTES = 8, 4096
DEFAULT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Password:
    """Random characters, at least one of each class that is asked for. Without any class: letters and digits."""

    length: int = DEFAULT_SIZE
    lower: bool = False
    upper: bool = False
    digits: bool = False
    symbols: str = ""
    exclude: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The characters of each class, those that are excluded left out."""
        chosen = [
            string.ascii_lowercase if self.lower else "",
            string.ascii_uppercase if self.upper else "",
            string.digits if self.digits else "",
            "".join(sorted(set(self.symbols))),
        ]
        asked = [one for one in chosen if one] or [string.ascii_lowercase, string.ascii_uppercase, string.digits]
        return tuple("".join(c for c in one if c not in self.exclude) for one in asked)


@dataclass(frozen=True, slots=True)
class Hex:
    """Random bytes as hexadecimal digits."""

    bytes: int = DEFAULT_SIZE


@dataclass(frozen=True, slots=True)
class Base64:
    """Random bytes in base64; the alphabet for URLs goes without padding."""

    bytes: int = DEFAULT_SIZE
    url_safe: bool = False


@dataclass(frozen=True, slots=True)
class Uuid:
    """A UUID of version 4 (RFC 9562)."""


class KeyPairAlgorithm(StrEnum):
    """Algorithms of key pairs."""

    RSA_3072 = "rsa_3072"
    RSA_4096 = "rsa_4096"
    EC_P256 = "ec_p256"
    EC_P384 = "ec_p384"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key in PEM (PKCS #8), without a passphrase."""

    algorithm: KeyPairAlgorithm


Generator = Password | Hex | Base64 | Uuid | KeyPair

_KINDS: Mapping[str, type[Generator]] = {
    "password": Password,
    "hex": Hex,
    "base64": Base64,
    "uuid": Uuid,
    "key_pair": KeyPair,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Generated:
    """A value that was made, and the public key of a key pair in PEM (SubjectPublicKeyInfo)."""

    value: bytes = field(repr=False)
    public_key: str = ""


def check_generator(generator: Generator, where: str = "generator") -> None:
    """Raise InvalidField, naming a field below `where`, when the generator can't make anything."""
    match generator:
        case Password():
            _check_size(f"{where}.password.length", generator.length, MIN_PASSWORD, MAX_PASSWORD)
            _check_characters(f"{where}.password.symbols", generator.symbols)
            _check_characters(f"{where}.password.exclude", generator.exclude)
            if not all(generator.classes):
                raise InvalidField(f"{where}.password.exclude", "it leaves nothing of a class of characters")
        case Hex():
            _check_size(f"{where}.hex.bytes", generator.bytes, MIN_BYTES, MAX_BYTES)
        case Base64():
            _check_size(f"{where}.base64.bytes", generator.bytes, MIN_BYTES, MAX_BYTES)


def generate(generator: Generator) -> Generated:
    """Return a new value. Blocks for a second or more when it is an RSA key pair."""
    match generator:
        case Password():
            return Generated(_password(generator).encode())
        case Hex():
            return Generated(secrets.token_hex(generator.bytes).encode())
        case Base64():
            return Generated(_base64(generator))
        case Uuid():
            return Generated(str(uuid4()).encode())
        case KeyPair():
            return _key_pair(generator.algorithm)


def encode_generator(generator: Generator) -> Json:
    """Return the generator as JSON."""
    return {"kind": _NAMES[type(generator)], **asdict(generator)}


def decode_generator(encoded: Json) -> Generator:
    """Return the generator that `encode_generator` wrote."""
    options = {name: value for name, value in encoded.items() if name != "kind"}
    if "algorithm" in options:
        options["algorithm"] = KeyPairAlgorithm(options["algorithm"])
    return _KINDS[encoded["kind"]](**options)


def _check_size(where: str, size: int, smallest: int, largest: int) -> None:
    if not smallest <= size <= largest:
        raise InvalidField(where, f"{size} can't be used: {smallest} to {largest} are allowed")


def _check_characters(where: str, characters: str) -> None:
    if not (characters.isascii() and characters.isprintable()):
        raise InvalidField(where, "only printable ASCII characters are allowed")


def _password(generator: Password) -> str:
    """Draw until each class is there: so every password that is allowed is as likely as any other."""
    classes = generator.classes
    characters = "".join(sorted(set("".join(classes))))
    while True:
        drawn = "".join(secrets.choice(characters) for _ in range(generator.length))
        if all(any(character in one for character in drawn) for one in classes):
            return drawn


def _base64(generator: Base64) -> bytes:
    drawn = secrets.token_bytes(generator.bytes)
    return base64.urlsafe_b64encode(drawn).rstrip(b"=") if generator.url_safe else base64.b64encode(drawn)


def _key_pair(algorithm: KeyPairAlgorithm) -> Generated:
    key = _private_key(algorithm)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Generated(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public.decode())


def _private_key(algorithm: KeyPairAlgorithm) -> PrivateKeyTypes:
    match algorithm:
        case KeyPairAlgorithm.RSA_3072:
            return rsa.generate_private_key(public_exponent=65537, key_size=3072)
        case KeyPairAlgorithm.RSA_4096:
            return rsa.generate_private_key(public_exponent=65537, key_size=4096)
        case KeyPairAlgorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyPairAlgorithm.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyPairAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
