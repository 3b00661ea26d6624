"""The options that say how the daemon makes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from vestry.v1 import secrets_pb2
from vestryctl.options import Utf8, Whole

_KEY_PAIRS: Final[Mapping[str, secrets_pb2.KeyPairAlgorithm.ValueType]] = {
    "rsa-3072": secrets_pb2.KEY_PAIR_ALGORITHM_RSA_3072,
    "rsa-4096": secrets_pb2.KEY_PAIR_ALGORITHM_RSA_4096,
    "ec-p256": secrets_pb2.KEY_PAIR_ALGORITHM_EC_P256,
    "ec-p384": secrets_pb2.KEY_PAIR_ALGORITHM_EC_P384,
    "ed25519": secrets_pb2.KEY_PAIR_ALGORITHM_ED25519,
}
_WITH_LENGTH = ("password", "hex", "base64", "base64url")
_KINDS = (*_WITH_LENGTH, "uuid", *_KEY_PAIRS)
_MAX_LENGTH = 65536  # the daemon's own limits are lower, and it says so

_OPTIONS = (
    click.option(
        "--generate",
        type=click.Choice(_KINDS),
        metavar="KIND",
        help=f"Let vestryd make the value: {', '.join(_KINDS)}. Nobody sees it, and nothing types it.",
    ),
    click.option(
        "--length", type=Whole(), metavar="N", help="How many characters a password has, or bytes the others."
    ),
    click.option(
        "--symbols", type=Utf8(), metavar="CHARS", help="Characters that a password has beside letters and digits."
    ),
    click.option(
        "--exclude", type=Utf8(), metavar="CHARS", help="Characters that a password must not have, such as 0O1lI."
    ),
)


def generator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of which `generator` makes sense."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def generator(
    *, generate: str | None, length: int | None, symbols: str | None, exclude: str | None
) -> secrets_pb2.Generator | None:
    """Return what the options ask for, None without --generate. Raises UsageError for options that don't fit."""
    if (symbols is not None or exclude is not None) and generate != "password":
        raise click.UsageError("--symbols and --exclude are for --generate password.")
    if length is not None and generate not in _WITH_LENGTH:
        raise click.UsageError(f"--length is for --generate {', '.join(_WITH_LENGTH)}.")
    if length is not None and length > _MAX_LENGTH:
        raise click.UsageError(f"--length is at most {_MAX_LENGTH}.")
    if generate is None:
        return None
    return _made(generate, length or 0, symbols or "", exclude or "")


def described(generator: secrets_pb2.Generator) -> str:
    """Return what a generator makes, in the words of --generate."""
    match generator.WhichOneof("kind"):
        case "password":
            return f"password of {generator.password.length or 32} characters"
        case "hex":
            return f"hex of {generator.hex.bytes or 32} bytes"
        case "base64":
            name = "base64url" if generator.base64.url_safe else "base64"
            return f"{name} of {generator.base64.bytes or 32} bytes"
        case "uuid":
            return "uuid"
        case _:
            names = {number: name for name, number in _KEY_PAIRS.items()}
            return names.get(generator.key_pair.algorithm, "key pair")


def _made(kind: str, length: int, symbols: str, exclude: str) -> secrets_pb2.Generator:
    match kind:
        case "password":
            has_classes = bool(symbols)  # symbols alone would mean: nothing but symbols
            password = secrets_pb2.PasswordGenerator(
                length=length,
                lower=has_classes,
                upper=has_classes,
                digits=has_classes,
                symbols=symbols,
                exclude=exclude,
            )
            return secrets_pb2.Generator(password=password)
        case "hex":
            return secrets_pb2.Generator(hex=secrets_pb2.HexGenerator(bytes=length))
        case "base64" | "base64url":
            base64 = secrets_pb2.Base64Generator(bytes=length, url_safe=kind == "base64url")
            return secrets_pb2.Generator(base64=base64)
        case "uuid":
            return secrets_pb2.Generator(uuid=secrets_pb2.UuidGenerator())
        case _:
            return secrets_pb2.Generator(key_pair=secrets_pb2.KeyPairGenerator(algorithm=_KEY_PAIRS[kind]))
