"""The file of one exported secret version."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sealing.tampering import quick_stretch, tampered, tells, told
from vestryd.domain.errors import InvalidField, UnlockRefused, VestryError
from vestryd.domain.sealing import aead, exported
from vestryd.domain.sealing.binary import fields
from vestryd.domain.sealing.exported import ExportedSecret, ExportKey, ExportReader, encrypt
from vestryd.domain.sealing.kdf import MAX_ITERATIONS

PASSPHRASE = b"correct horse battery staple"
SALT = bytes(range(16))
SECRET = ExportedSecret("billing", "db-password", 3, b"hunter2", {"description": "für die Buchhaltung"})
HEADER_BYTES = 70
PAYLOAD = 130  # where what is exported begins, sealed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch passphrases at once."""
    monkeypatch.setattr(exported, "stretch", quick_stretch)


@pytest.fixture(scope="module")
def key() -> ExportKey:
    """Return a key that was derived with the real PBKDF2."""
    return ExportKey.derive(PASSPHRASE, SALT)


@pytest.fixture(scope="module")
def reader(key: ExportKey) -> ExportReader:
    """Return a reader that has derived the key of the salt already."""
    reader = ExportReader(PASSPHRASE)
    reader.read(encrypt(key, SECRET))
    return reader


def is_refused(file: bytes) -> bool:
    """Return whether a file can't be read."""
    try:
        ExportReader(PASSPHRASE).read(file)
    except (InvalidField, UnlockRefused):
        return True
    return False


@given(st.binary(min_size=1, max_size=300), st.integers(1, 2**63), st.dictionaries(st.text(max_size=9), st.integers()))
def test_a_secret_comes_back(
    key: ExportKey, reader: ExportReader, value: bytes, version: int, metadata: dict[str, int]
) -> None:
    """What is exported is read: the value, where it is from, and the facts about it."""
    secret = ExportedSecret("billing", "db-password", version, value, metadata)
    assert reader.read(encrypt(key, secret)) == secret


def test_a_file_is_read_with_the_passphrase_alone(key: ExportKey) -> None:
    """All else that is needed stands in the file: salt, iterations, names."""
    assert ExportReader(PASSPHRASE).read(encrypt(key, SECRET)) == SECRET


def test_no_byte_of_a_file_can_be_changed(quick: None) -> None:
    """A file with any bit flipped, cut anywhere or with a byte more is refused."""
    assert all(is_refused(file) for file in tampered(encrypt(ExportKey.derive(PASSPHRASE, SALT), SECRET)))


def test_another_passphrase_is_refused(quick: None) -> None:
    """Another passphrase opens nothing, and the refusal shows neither."""
    file = encrypt(ExportKey.derive(PASSPHRASE, SALT), SECRET)
    with pytest.raises(UnlockRefused, match="the passphrase doesn't open the file") as refusal:
        ExportReader(PASSPHRASE + b"!").read(file)
    assert "horse" not in told(refusal.value)


def test_the_parts_of_two_files_do_not_mix(quick: None) -> None:
    """The value of one secret can't be put into the file of another, even of the same export."""
    key = ExportKey.derive(PASSPHRASE, SALT)
    one, other = encrypt(key, SECRET), encrypt(key, replace(SECRET, name="api-key"))
    assert is_refused(one[:PAYLOAD] + other[PAYLOAD:])


def test_a_key_is_derived_once_for_a_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of one export cost one derivation; a second export costs another."""
    derived: list[bytes] = []

    def counted(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
        derived.append(salt)
        return quick_stretch(passphrase, salt, iterations)

    monkeypatch.setattr(exported, "stretch", counted)
    keys = [ExportKey.derive(PASSPHRASE, salt) for salt in (SALT, SALT[::-1])]
    files = [encrypt(key, replace(SECRET, version=version)) for key in keys for version in range(1, 4)]
    derived.clear()
    reader = ExportReader(PASSPHRASE)
    assert [reader.read(file).version for file in files] == [1, 2, 3, 1, 2, 3]
    assert derived == [SALT, SALT[::-1]]


def test_an_import_takes_so_much_work_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files say how dear their keys are: together they can't ask for more than the dearest one alone."""
    monkeypatch.setattr(exported, "stretch", quick_stretch)
    keys = [ExportKey.derive(PASSPHRASE, bytes([n]) * 16, iterations=MAX_ITERATIONS // 2) for n in range(3)]
    *others, last = [encrypt(key, SECRET) for key in keys]
    reader = ExportReader(PASSPHRASE)
    assert [reader.read(file) for file in others] == [SECRET, SECRET]
    with pytest.raises(InvalidField, match="too many iterations"):
        reader.read(last)
    assert ExportReader(PASSPHRASE).read(last) == SECRET


def test_a_file_below_the_floor_is_not_tried(key: ExportKey) -> None:
    """A file that says fewer than 600 000 or absurdly many iterations is refused before anything is computed."""
    for iterations in (0, 599_999, 50_000_001):
        with pytest.raises(UnlockRefused, match=f"{iterations} iterations"):
            ExportReader(PASSPHRASE).read(encrypt(replace(key, iterations=iterations), SECRET))


@pytest.mark.parametrize(
    "file", [b"", b"DB_PASSWORD=hunter2\n", b"vestry secret 1\n", b"vestry secret 2\n" + bytes(200)]
)
def test_what_is_not_an_export_is_refused_without_a_passphrase(file: bytes) -> None:
    """Other files are told apart at once, and none of their bytes are shown."""
    with pytest.raises(InvalidField, match="not an exported secret") as refusal:
        ExportReader(PASSPHRASE).read(file)
    assert "hunter2" not in told(refusal.value)


@pytest.mark.parametrize(
    "payload", [b"", b"\0\0", fields("{}") + b"x", fields('{"name":1}'), fields("[" * 100_000), fields(b"\xff")]
)
def test_what_the_passphrase_proves_is_parsed_as_well(quick: None, payload: bytes) -> None:
    """Somebody who knows the passphrase can't break the reader with a payload that is no secret."""
    key = ExportKey.derive(PASSPHRASE, SALT)
    file = encrypt(key, SECRET, random=bytes)
    forged = aead.seal(bytes(32), payload, fields("vestry/export/v1", "payload", file[:HEADER_BYTES]), bytes)
    with pytest.raises(InvalidField, match="was changed"):
        ExportReader(PASSPHRASE).read(file[:PAYLOAD] + forged)


def test_nothing_in_a_file_tells_what_it_is(key: ExportKey) -> None:
    """Names, facts and value are encrypted; the same secret never gives the same file."""
    file = encrypt(key, SECRET)
    assert not any(text in file for text in (b"billing", b"db-password", b"Buchhaltung", b"hunter2"))
    assert file != encrypt(key, SECRET)


def test_nothing_shows_a_key_or_a_value(key: ExportKey) -> None:
    """Neither the key, the secret and the reader, nor a refusal with its traceback, gives one away."""
    reader = ExportReader(PASSPHRASE)
    with pytest.raises(VestryError) as refusal:
        reader.read(encrypt(key, SECRET)[:-1])
    text = f"{key!r}{key}{SECRET!r}{SECRET}{reader!r}{told(refusal.value)}"
    assert not any(tells(text, secret) for secret in (key.wrapping_key, key.check, b"hunter2", PASSPHRASE))
