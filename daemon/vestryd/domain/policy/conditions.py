"""Conditions: when, and from where, a rule counts. They have no state: a clock that jumps back finds the old answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from vestryd.domain.faults import shown
from vestryd.domain.identity import Address
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.findings import Findings, Path

UNIX = "unix"  # the network of callers on a unix socket

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_END_OF_DAY = "24:00"
_MAPPED_PREFIX = 96  # bits of ::ffff:0:0/96, under which IPv6 has IPv4 (RFC 4291, section 2.5.5.2)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_PREFIX = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")

_ZONE_HINT = ": name one of the IANA database, such as Europe/Berlin or UTC"
_NO_ZONES = ": this machine has no time zones at all: install its package tzdata, or the one of PyPI"


class Condition(Protocol):
    """Something that must hold for a rule to count."""

    @property
    def demand(self) -> str:
        """What must hold, as the end of a sentence that begins with "the rule counts"."""

    def holds(self, now: datetime, address: Address | None) -> bool:
        """Tell whether it holds for a call at `now` (with a time zone) from `address` (None: a unix socket)."""


@dataclass(frozen=True, slots=True)
class _NotBefore:
    """The rule counts from a moment on."""

    moment: datetime

    @property
    def demand(self) -> str:
        return f"only from {_shown(self.moment)} on"

    def holds(self, now: datetime, _address: Address | None) -> bool:
        return now >= self.moment


@dataclass(frozen=True, slots=True)
class _Expires:
    """The rule counts until a moment, which is no longer part of its time."""

    moment: datetime

    @property
    def demand(self) -> str:
        return f"only until {_shown(self.moment)}"

    def holds(self, now: datetime, _address: Address | None) -> bool:
        return now < self.moment


@dataclass(frozen=True, slots=True)
class _Networks:
    """The rule counts for callers from some networks. An IPv4 address written as IPv6 is an IPv4 address.

    `ranges` are an IP version, a mask and the network's number under it: three times faster than ipaddress's `in`.
    """

    texts: tuple[str, ...]
    ranges: tuple[tuple[int, int, int], ...]
    has_unix: bool

    @property
    def demand(self) -> str:
        return f"only from {' or '.join('a unix socket' if text == UNIX else text for text in self.texts)}"

    def holds(self, _now: datetime, address: Address | None) -> bool:
        if address is None:
            return self.has_unix
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        version, number = address.version, int(address)
        return any(number & mask == network for family, mask, network in self.ranges if family == version)


@dataclass(frozen=True, slots=True)
class _Hours:
    """The rule counts at hours of some days, as a clock on the wall of a place shows them.

    `start` is inside, `end` is not; None is the end of the day. When `end` is before `start`, the hours go on past
    midnight and belong to the day on which they began. When the wall's clock goes back, an hour that comes twice counts
    twice.
    """

    days: frozenset[int]  # 0 is Monday
    start: time
    end: time | None
    zone: ZoneInfo

    @property
    def demand(self) -> str:
        days = ", ".join(name for number, name in enumerate(_DAYS) if number in self.days)
        end = f"{self.end:%H:%M}" if self.end else _END_OF_DAY
        return f"only on {days} from {self.start:%H:%M} to {end} {self.zone.key}"

    def holds(self, now: datetime, _address: Address | None) -> bool:
        local = now.astimezone(self.zone)
        today, clock = local.weekday(), local.time()
        if self.end is None:
            return today in self.days and clock >= self.start
        if self.start < self.end:
            return today in self.days and self.start <= clock < self.end
        yesterday = (today - 1) % 7
        return (today in self.days and clock >= self.start) or (yesterday in self.days and clock < self.end)


def parse_conditions(conditions: Json, path: Path, findings: Findings) -> tuple[Condition, ...]:
    """Return the conditions of a rule, of the shape that the schema gives them; of bad ones only the findings remain."""
    parsed: list[Condition] = []
    not_before = _parse_moment(conditions.get("not_before"), (*path, "not_before"), findings)
    expires = _parse_moment(conditions.get("expires"), (*path, "expires"), findings)
    if not_before and expires and expires <= not_before:
        message = "the rule would never count: 'expires' must be later than 'not_before'"
        findings.add((*path, "expires"), "condition", message, conditions["expires"])
    if not_before:
        parsed.append(_NotBefore(not_before))
    if expires:
        parsed.append(_Expires(expires))
    if "networks" in conditions:
        parsed.append(_parse_networks(conditions["networks"], (*path, "networks"), findings))
    if "hours" in conditions:
        hours = _parse_hours(conditions["hours"], (*path, "hours"), findings)
        parsed += [hours] if hours else []
    return tuple(parsed)


def _shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _parse_moment(text: str | None, path: Path, findings: Findings) -> datetime | None:
    if text is None:
        return None
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # a 30th of February; a moment outside of the years 1 to 9999
        pass
    message = f"{shown(text)} is not a time: write it with its time zone (RFC 3339), such as 2026-01-31T18:00:00Z"
    findings.add(path, "condition", message, text)
    return None


def _parse_networks(texts: list[str], path: Path, findings: Findings) -> _Networks:
    ranges = []
    for index, text in enumerate(texts):
        if text == UNIX:
            continue
        network = _parse_network(text, (*path, index), findings)
        if network:
            ranges.append((network.version, int(network.netmask), int(network.network_address)))
    return _Networks(tuple(texts), tuple(ranges), UNIX in texts)


def _parse_network(text: str, path: Path, findings: Findings) -> IPv4Network | IPv6Network | None:
    try:
        network = ip_network(text, strict=False) if _PREFIX.fullmatch(text) else None
    except ValueError:
        network = None
    if network is None:
        message = f"{shown(text)} is not a network: write one such as 10.0.0.0/8 or 2001:db8::/32, or '{UNIX}'"
        findings.add(path, "condition", message, text)
        return None
    try:
        ip_network(text)
    except ValueError:
        message = f"{shown(text)} has bits set behind its prefix: write {network}"
        findings.add(path, "condition", message, text)
    return _unmapped(network)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that an IPv6 one maps, or the network itself."""
    if isinstance(network, IPv4Network) or network.prefixlen < _MAPPED_PREFIX:
        return network
    first = network.network_address.ipv4_mapped
    return IPv4Network((int(first), network.prefixlen - _MAPPED_PREFIX)) if first else network


def _parse_hours(hours: Json, path: Path, findings: Findings) -> _Hours | None:
    zone = _parse_zone(hours["time_zone"], (*path, "time_zone"), findings)
    start = _parse_time(hours.get("from", "00:00"), (*path, "from"), findings)
    last = hours.get("to", _END_OF_DAY)
    end = None if last == _END_OF_DAY else _parse_time(last, (*path, "to"), findings)
    if start is not None and start == end:
        message = "'to' is the time of 'from': leave both out for the whole day, or choose another time"
        findings.add((*path, "to"), "condition", message, last)
    if zone is None or start is None:
        return None
    days = hours.get("days", _DAYS)
    return _Hours(frozenset(map(_DAYS.index, days)), start, end, zone)


def _parse_time(text: str, path: Path, findings: Findings) -> time | None:
    if _TIME_OF_DAY.fullmatch(text):
        return time.fromisoformat(text)
    message = f"{shown(text)} is not a time of day: write HH:MM, such as 08:00"
    findings.add(path, "condition", message, text)
    return None


def _parse_zone(key: str, path: Path, findings: Findings) -> ZoneInfo | None:
    try:
        return ZoneInfo(key)
    except (LookupError, ValueError, OSError):  # no such zone; a key that leaves the database; one that is a directory
        zones = available_timezones()
    hint = findings.suggestion(key, zones) or (_ZONE_HINT if zones else _NO_ZONES)
    findings.add(path, "condition", f"there is no time zone {shown(key)}{hint}", key)
    return None
