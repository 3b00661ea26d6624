"""The format of the audit log's lines."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from datetime import UTC, datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.audit_logs import K1, PUBLIC_KEY, STORE, checkpoint, record, written
from vestry.audit import (
    Fact,
    Outcome,
    Record,
    decode,
    decode_checkpoint,
    encode,
    encode_checkpoint,
    load_verification_key,
)
from vestry.audit_checkpoint import is_signed_by
from vestry.audit_record import chain_start, line_hash, next_key, seam

texts = st.text(max_size=40)
facts: st.SearchStrategy[dict[str, Fact]] = st.dictionaries(texts, texts | st.integers() | st.booleans(), max_size=4)
records = st.builds(
    Record,
    sequence=st.integers(1, 10**15),
    time=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    actor=texts,
    action=texts,
    resource=texts,
    outcome=st.sampled_from(Outcome),
    request_id=texts,
    facts=facts,
)


@given(records, st.binary(min_size=32, max_size=32))
def test_a_line_says_what_the_record_said(original: Record, key: bytes) -> None:
    """Any record, whatever stands in its texts, comes back from its one line of ASCII."""
    line = encode(original, previous="0" * 64, key=key)
    assert decode(line) == original
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


@given(records, st.binary(min_size=32, max_size=32))
def test_a_line_is_canonical_and_its_mac_covers_the_rest(original: Record, key: bytes) -> None:
    """A line is sorted JSON without spaces; the MAC is of that same JSON without the member `mac`."""
    line = encode(original, previous="0" * 64, key=key)
    members = json.loads(line)
    assert json.dumps(members, sort_keys=True, separators=(",", ":")).encode() == line[:-1]
    mac = members.pop("mac")
    rest = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    assert mac == hmac.new(key, rest, "sha256").hexdigest()
    tie = seam(line)
    assert tie
    assert tie == (original.sequence, b"0" * 64, mac.encode(), rest)


def test_the_format_is_the_documented_one() -> None:
    """The bytes are those of docs/audit.md: what was written once can be verified for ever."""
    line = encode(record(1), previous=chain_start(STORE), key=K1)
    assert line.decode() == (
        '{"action":"config.update","actor":"uid:1000","facts":{"cause":"rpc","version":1},'
        '"mac":"bbe0b450aa85177b8ec44d8cf2f51a13dae0156f228e73ec3f9d48b47928df54","outcome":"allowed",'
        '"previous":"' + hashlib.sha256(b"vestry audit 1\n" + STORE.encode()).hexdigest() + '",'
        '"request_id":"request-1","resource":"namespaces/billing/config","sequence":1,'
        '"time":"2026-01-01T00:00:01.000000Z"}\n'
    )
    assert line_hash(line) == hashlib.sha256(line[:-1]).hexdigest()
    assert next_key(K1) == hashlib.sha256(b"vestry audit evolve" + K1).digest()


def test_a_time_is_written_in_utc() -> None:
    """A time of another zone is the same moment on the line."""
    local = record(1).time.astimezone(timezone.max)
    line = encode(record(1, time=local), previous="0" * 64, key=K1)
    assert b'"time":"2026-01-01T00:00:01.000000Z"' in line


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"{}\n",
        b"\x00" * 100,
        written(1).lines[0].rstrip(),
        written(1).lines[0].replace(b'"sequence":1', b'"sequence":01'),
        written(1).lines[0].replace(b'"actor"', b' "actor"'),
        written(1).lines[0].replace(b'"outcome":', b'"outcome":"denied","outcome":'),
        written(1).lines[0].replace(b"allowed", b"perhaps"),
        written(1).lines[0].replace(b"2026-01", b"2026-13"),
    ],
)
def test_what_is_not_a_record_is_refused(garbage: bytes) -> None:
    """A line of another form, doubled members included, is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        decode(garbage)


@pytest.mark.parametrize("fact", [1.5, None, [1], {"a": {}}])
def test_what_could_not_be_read_is_not_written(fact: object) -> None:
    """A fact of another kind is refused when it is written, not when it is too late."""
    with pytest.raises(ValueError, match="facts"):
        encode(record(1, facts={"a": fact}), previous="0" * 64, key=K1)


def test_a_checkpoint_comes_back_and_proves_itself() -> None:
    """A checkpoint survives its line, and its signature covers each field."""
    original = checkpoint(3, 40, "a" * 64)
    line = encode_checkpoint(original)
    assert decode_checkpoint(line) == original
    assert is_signed_by(original, PUBLIC_KEY)
    for old, new in ((b'"number":3', b'"number":4'), (b'"size":40', b'"size":41'), (b"aaaa", b"aaab"), (b"55", b"56")):
        assert not is_signed_by(decode_checkpoint(line.replace(old, new, 1)), PUBLIC_KEY)


@pytest.mark.parametrize("text", [b"", b"00", b"xyz", "ü".encode(), K1.hex().encode() + b"00"])
def test_what_is_not_a_verification_key_is_refused(text: bytes) -> None:
    """A file that holds anything but 32 bytes in hexadecimal digits is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        load_verification_key(text)


def test_the_library_does_not_need_cryptography() -> None:
    """`import vestry` imports neither the audit log nor cryptography: services need not install it."""
    check = (
        "import sys, vestry; sys.exit(any(name.startswith(('cryptography', 'vestry.audit')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
