"""Keys made from keys and from passphrases."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealing.tampering import told
from vestryd.domain.errors import UnlockRefused
from vestryd.domain.sealing.kdf import MAX_ITERATIONS, MIN_ITERATIONS, _prepare, check_iterations, derive, stretch

SALT = bytes(16)
# Letters that can be composed, Hangul among them, and what composes them.
TEXTS = st.text(st.sampled_from("aeouAEOU cçñ\u0301\u0308\u0323\u1100\u1161\u11a8\uac00"), min_size=40, max_size=60)


def test_pbkdf2_is_never_cheaper_than_the_floor() -> None:
    """One iteration fewer than 600 000 is refused, and so is an absurd number; the bounds themselves are not."""
    for iterations in (0, 1, MIN_ITERATIONS - 1, MAX_ITERATIONS + 1, 2**32 - 1):
        with pytest.raises(UnlockRefused, match="600000 to 50000000 are allowed"):
            stretch(b"correct horse battery staple", SALT, iterations)
    check_iterations(MIN_ITERATIONS)
    check_iterations(MAX_ITERATIONS)


@given(TEXTS)
def test_a_passphrase_is_the_same_however_it_is_composed(text: str) -> None:
    """Composed and decomposed letters make the same passphrase."""
    assert _prepare(unicodedata.normalize("NFD", text).encode()) == _prepare(
        unicodedata.normalize("NFC", text).encode()
    )


def test_every_space_is_a_space() -> None:
    """The spaces that keyboards and word processors put in are U+0020."""
    assert _prepare("correct\u00a0horse\u3000battery".encode()) == b"correct horse battery"


def test_what_looks_alike_is_not_the_same() -> None:
    """Compatibility characters stay what they are: entropy is not folded away."""
    assert _prepare("ﬁve hundred miles".encode()) != _prepare(b"five hundred miles")


def test_the_length_is_counted_in_characters() -> None:
    """Twelve characters are enough, whatever they take in UTF-8; eleven are not, and 1025 are too many."""
    assert _prepare(("é" * 12).encode())
    for passphrase in ("é" * 11, "e\u0301" * 11, "x" * 1025, ""):
        with pytest.raises(UnlockRefused, match="12 to 1024 are allowed"):
            _prepare(passphrase.encode())


@pytest.mark.parametrize(
    "passphrase",
    [b"correct horse battery\n", b"correct\0horse battery", b"correct horse \xff battery", b"\xed\xa0\x80" * 12],
)
def test_control_characters_and_other_encodings_are_refused(passphrase: bytes) -> None:
    """A line break at the end of a file, NUL, Latin-1 and UTF-8 of half pairs are refused, without showing what was given."""
    with pytest.raises(UnlockRefused, match="not UTF-8 text, or it has a line break") as refusal:
        _prepare(passphrase)
    assert "horse" not in told(refusal.value)


def test_keys_of_different_purposes_have_nothing_in_common() -> None:
    """Another key, label, context or salt makes another key; so does the same text cut at another place."""
    key = bytes(range(32))
    made = [
        derive(key, "label", "store"),
        derive(key, "labels", "tore"),
        derive(key, "label"),
        derive(key, "label", "store", salt=SALT + b"\1"),
        derive(bytes(32), "label", "store"),
    ]
    assert len(set(made)) == len(made)


def test_no_key_comes_of_next_to_nothing() -> None:
    """A key of fewer than 32 bytes, an empty one above all, is a ValueError, and so is a salt of another size."""
    with pytest.raises(ValueError, match="32 bytes"):
        derive(b"", "label")
    with pytest.raises(ValueError, match="16 bytes"):
        stretch(b"correct horse battery staple", b"", MIN_ITERATIONS)
