from __future__ import annotations

import base64
import string
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from vestryd.domain.errors import InvalidField
from vestryd.domain.secrets.generators import (
    Base64,
    Generated,
    Generator,
    Hex,
    KeyPair,
    KeyPairAlgorithm,
    Password,
    Uuid,
    check_generator,
    decode_generator,
    encode_generator,
    generate,
)

PASSWORDS = st.builds(
    Password,
    length=st.integers(8, 64),
    lower=st.booleans(),
    upper=st.booleans(),
    digits=st.booleans(),
    symbols=st.sampled_from(["", "!", "!#$%", "!!"]),
    exclude=st.sampled_from(["", "0O1lI", "abc"]),
)
GENERATORS = st.one_of(
    PASSWORDS,
    st.builds(Hex, st.integers(8, 64)),
    st.builds(Base64, st.integers(8, 64), st.booleans()),
    st.just(Uuid()),
    st.builds(KeyPair, st.sampled_from(KeyPairAlgorithm)),
)


@given(generator=PASSWORDS)
def test_a_password_is_what_it_was_asked_to_be(generator: Password) -> None:
    """It has its length, each class that is asked for, and nothing else."""
    check_generator(generator)
    made = generate(generator).value.decode()
    assert len(made) == generator.length
    assert all(set(made) & set(one) for one in generator.classes)
    assert set(made) <= set("".join(generator.classes))
    assert not set(made) & set(generator.exclude)


def test_a_password_without_classes_has_letters_and_digits() -> None:
    """The default is 32 letters and digits."""
    made = generate(Password()).value.decode()
    assert len(made) == 32
    assert set(made) <= set(string.ascii_letters + string.digits)


@pytest.mark.parametrize("url_safe", [False, True])
def test_random_bytes_have_their_number(url_safe: bool) -> None:  # noqa: FBT001
    """Hex and base64 hold as many random bytes as are asked for; the alphabet for URLs has no padding."""
    assert len(bytes.fromhex(generate(Hex(9)).value.decode())) == 9
    made = generate(Base64(10, url_safe)).value.decode()
    assert made.endswith("=") is not url_safe
    assert len(base64.urlsafe_b64decode(made + "=" * (-len(made) % 4))) == 10 or not url_safe


def test_a_uuid_is_of_version_4() -> None:
    """It reads as RFC 9562 has it."""
    assert UUID(generate(Uuid()).value.decode()).version == 4


@pytest.mark.parametrize("algorithm", [one for one in KeyPairAlgorithm if one is not KeyPairAlgorithm.RSA_4096])
def test_a_key_pair_belongs_together(algorithm: KeyPairAlgorithm) -> None:
    """The private key is PKCS #8 in PEM, and the public key is its own."""
    made = generate(KeyPair(algorithm))
    assert made.value.startswith(b"-----BEGIN PRIVATE KEY-----")
    key = load_pem_private_key(made.value, None)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public.decode() == made.public_key
    if isinstance(key, RSAPrivateKey):
        assert key.key_size == 3072


@pytest.mark.parametrize(
    ("generator", "field"),
    [
        (Password(length=7), "generator.password.length"),
        (Password(length=1025), "generator.password.length"),
        (Password(symbols="é"), "generator.password.symbols"),
        (Password(exclude="\n"), "generator.password.exclude"),
        (Password(digits=True, exclude=string.digits), "generator.password.exclude"),
        (Hex(7), "generator.hex.bytes"),
        (Base64(4097), "generator.base64.bytes"),
    ],
)
def test_a_generator_that_makes_nothing_is_refused(generator: Generator, field: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidField) as caught:
        check_generator(generator)
    assert caught.value.field_name == field


@given(generator=GENERATORS)
def test_a_generator_survives_its_json(generator: Generator) -> None:
    """What is stored of a policy makes the same again."""
    assert decode_generator(encode_generator(generator)) == generator


def test_what_was_made_is_not_shown() -> None:
    """A repr has no value."""
    assert "hunter2" not in repr(Generated(b"hunter2"))
