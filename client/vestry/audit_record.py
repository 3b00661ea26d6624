"""A record of the audit log: what it says, its line in the file, and how lines are chained and authenticated.

docs/audit.md describes the format byte by byte. A line is canonical JSON (members sorted by name, no spaces, ASCII), and
its members are those of Record and two more:

- `previous`: the SHA-256 of the line before, without its newline; for record 1, `chain_start`.
- `mac`: HMAC-SHA256, under the record's own key, of the line without its newline and without the member `mac`.

Record n has key K(n). K(n + 1) is made from K(n), which is then erased: who takes K(n) can't alter a record before n.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

KEY_BYTES: Final = 32

Fact = str | int | bool

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FACT = _TEXT + rb":(?:" + _TEXT + rb"|-?[0-9]++|true|false)"
# The shape of a line, which fixes the order of its members, so that none can be there twice.
_LINE = re.compile(
    rb'(\{"action":' + _TEXT + rb',"actor":' + _TEXT + rb',"facts":\{(?:' + _FACT + rb"(?:," + _FACT + rb")*+)?\},)"
    rb'"mac":"([0-9a-f]{64})",'
    rb'("outcome":"[a-z]++","previous":"([0-9a-f]{64})","request_id":' + _TEXT + rb',"resource":' + _TEXT
    + rb',"sequence":([1-9][0-9]{0,17}),"time":"[-0-9T:.]{26}Z"\})\n'
)  # fmt: skip
# The end of the facts and what follows without a mac. Within a text a quote is escaped, so this is there only once.
_AFTER_FACTS = b'},"outcome":'


class Outcome(StrEnum):
    """What became of the thing that a record tells of."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was done, or refused.

    `sequence` counts from 1 without gaps. `time` is in UTC, to the microsecond, by the daemon's clock, which may have
    been set back: order is by sequence. `action` is a dotted name (config.update); `resource` a path
    (namespaces/billing/config). `facts` are a few small facts that go with the action, never a payload.
    """

    sequence: int
    time: datetime
    actor: str
    action: str
    resource: str
    outcome: Outcome
    request_id: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Seam(NamedTuple):
    """What ties a line to its place: read off its bytes, without parsing the record. A tuple is made twice as fast."""

    sequence: int
    previous: bytes  # 64 hexadecimal digits
    mac: bytes  # 64 hexadecimal digits
    authenticated: bytes  # what `mac` is of


def encode(record: Record, *, previous: str, key: bytes) -> bytes:
    """Return the record's line, newline included; `key` is K(record.sequence).

    Raises ValueError for what `decode` would refuse: a line that can't be read must not get into a log for ever.
    """
    members: dict[str, Any] = {
        "action": record.action,
        "actor": record.actor,
        "facts": dict(record.facts),
        "outcome": record.outcome.value,
        "previous": previous,
        "request_id": record.request_id,
        "resource": record.resource,
        "sequence": record.sequence,
        "time": format_time(record.time),
    }
    authenticated = canonical(members)
    head, tail = authenticated.split(_AFTER_FACTS)
    line = b'%b},"mac":"%b","outcome":%b\n' % (head, mac(key, authenticated).encode(), tail)
    if _LINE.fullmatch(line) is None:
        raise ValueError("this can't be an audit record: its facts or its time are of another kind")
    return line


def decode(line: bytes) -> Record:
    """Return what a line says; whether it is true is for `verify`. Raises ValueError when it isn't a record's line."""
    if _LINE.fullmatch(line) is None:
        raise ValueError("this is not the line of an audit record")
    members = json.loads(line)
    return Record(
        sequence=members["sequence"],
        time=parse_time(members["time"]),
        actor=members["actor"],
        action=members["action"],
        resource=members["resource"],
        outcome=Outcome(members["outcome"]),
        request_id=members["request_id"],
        facts=members["facts"],
    )


def seam(line: bytes) -> Seam | None:
    """Return what ties a line to its place, or None when it isn't a record's line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    head, found_mac, tail, previous, sequence = match.groups()
    return Seam(int(sequence), previous, found_mac, head + tail)


def chain_start(store_id: str) -> str:
    """Return what stands for the line before record 1."""
    return hashlib.sha256(b"vestry audit 1\n" + store_id.encode()).hexdigest()


def line_hash(line: bytes) -> str:
    """Return what the next line gives as `previous`."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def mac(key: bytes, authenticated: bytes) -> str:
    """Return the MAC of a line's authenticated bytes."""
    return hmac.digest(key, authenticated, "sha256").hex()


def next_key(key: bytes) -> bytes:
    """Return K(n + 1), given K(n)."""
    return hashlib.sha256(b"vestry audit evolve" + key).digest()


def canonical(members: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of an object. It is ASCII: no text in it can play tricks on a terminal."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def format_time(time: datetime) -> str:
    """Return a time as ISO 8601 in UTC with microseconds: 2026-11-23T22:28:40.123456Z."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Return the time that `format_time` wrote. Raises ValueError."""
    return datetime.fromisoformat(text)
