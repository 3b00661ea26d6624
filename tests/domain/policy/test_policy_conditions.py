from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.policy.policies import PASSWORD, ROOT, caller, policy, refusal, rule
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy import conditions as policy_conditions

NOON = "2026-01-05T12:00:00Z"  # a Monday


def counts(conditions: Json, at: str = NOON, address: str = "") -> bool:
    """Tell whether a rule with the conditions allows a call at the time and from the address."""
    conditional = policy({"rule": rule(conditions=conditions)})
    return conditional.check(caller(address=address), "secrets.access", PASSWORD, datetime.fromisoformat(at)).is_allowed


def berlin(at: str, **hours: Any) -> bool:
    """Tell whether a rule with the hours, in Berlin, counts at the time."""
    return counts({"hours": {"time_zone": "Europe/Berlin", **hours}}, at)


def problem(conditions: Json) -> tuple[str, str]:
    """Return at which condition, and why, the conditions are refused."""
    pointer, word, message = refusal({"rules": {"root": ROOT, "bad": rule(conditions=conditions)}})
    assert word == "condition"
    return pointer.removeprefix("/rules/bad/conditions"), message


def test_a_rule_counts_from_a_moment_until_another() -> None:
    """`not_before` is inside, `expires` is not; both are moments, in whatever zone they are written."""
    span = {"not_before": "2026-01-05T12:00:00+01:00", "expires": "2026-01-05t12:00:00.5z"}
    assert not counts(span, "2026-01-05T10:59:59.999999Z")
    assert counts(span, "2026-01-05T11:00:00Z")
    assert counts(span, "2026-01-05T12:00:00.499999Z")
    assert not counts(span, "2026-01-05T12:00:00.5Z")


def test_empty_conditions_always_hold() -> None:
    """An empty object asks for nothing."""
    assert counts({})


def test_all_conditions_must_hold() -> None:
    """One that fails is enough for the rule not to count."""
    conditions = {"expires": "2027-01-01T00:00:00Z", "networks": ["10.0.0.0/8"]}
    assert counts(conditions, address="10.1.2.3")
    assert not counts(conditions, address="11.1.2.3")
    assert not counts(conditions, "2027-01-01T00:00:00Z", address="10.1.2.3")


@pytest.mark.parametrize(
    ("network", "address", "is_inside"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::10.1.2.3", False),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "::ffff:11.1.2.3", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("0.0.0.0/0", "192.0.2.2", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "192.0.2.2", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("unix", "192.0.2.2", False),
        ("0.0.0.0/0", "", False),
        ("unix", "", True),
    ],
)
def test_a_rule_counts_for_callers_from_a_network(network: str, address: str, is_inside: bool) -> None:  # noqa: FBT001 - a table's column
    """A mapped IPv4 address is an IPv4 address, and `unix` is the unix socket; no address (here: empty) is one there."""
    assert counts({"networks": ["198.51.100.0/24", network]}, address=address) is is_inside


@pytest.mark.parametrize(
    ("at", "is_inside"),
    [
        ("2026-01-05T06:59:59Z", False),
        ("2026-01-05T07:00:00Z", True),
        ("2026-01-05T16:59:59.999999Z", True),
        ("2026-01-05T17:00:00Z", False),
        ("2026-01-09T12:00:00Z", True),
        ("2026-01-10T12:00:00Z", False),
        ("2026-07-06T05:59:59Z", False),
        ("2026-07-06T06:00:00Z", True),
    ],
)
def test_hours_are_those_of_a_place(at: str, is_inside: bool) -> None:  # noqa: FBT001 - a table's column
    """From 08:00 up to 18:00 in Berlin on working days, which is another time in UTC, in winter and in summer."""
    assert berlin(at, days=["mon", "tue", "wed", "thu", "fri"], **{"from": "08:00", "to": "18:00"}) is is_inside


@pytest.mark.parametrize(
    ("at", "is_inside"),
    [
        ("2026-01-09T21:59:00+01:00", False),
        ("2026-01-09T22:00:00+01:00", True),
        ("2026-01-10T05:59:00+01:00", True),
        ("2026-01-10T06:00:00+01:00", False),
        ("2026-01-10T22:00:00+01:00", False),
        ("2026-01-09T05:00:00+01:00", False),
    ],
)
def test_hours_that_cross_midnight_belong_to_the_day_they_began(at: str, is_inside: bool) -> None:  # noqa: FBT001 - a table's column
    """Friday's night from 22:00 to 06:00 ends on Saturday, and Thursday's is not part of it."""
    assert berlin(at, days=["fri"], **{"from": "22:00", "to": "06:00"}) is is_inside


def test_a_night_of_sunday_ends_on_monday() -> None:
    """The week goes round."""
    assert berlin("2026-01-05T01:00:00+01:00", days=["sun"], **{"from": "22:00", "to": "06:00"})


def test_hours_reach_to_the_ends_of_the_day_unless_told() -> None:
    """`from` is 00:00 and `to` is 24:00 when they are left out, and 00:00 as `to` means the same."""
    for ending in ({}, {"to": "24:00"}, {"to": "00:00"}):
        assert berlin("2026-01-05T23:59:59.999999+01:00", days=["mon"], **{"from": "20:00"}, **ending)
        assert not berlin("2026-01-06T00:00:00+01:00", days=["mon"], **{"from": "20:00"}, **ending)
    assert berlin("2026-01-05T00:00:00+01:00", days=["mon"])
    assert not berlin("2026-01-04T23:59:59+01:00", days=["mon"])
    assert berlin("2026-01-04T23:59:59+01:00")


def test_an_hour_that_comes_twice_counts_twice() -> None:
    """On 25 October 2026 the clock in Berlin goes from 03:00 back to 02:00: 02:30 is at 00:30 and at 01:30 UTC."""
    hour = {"from": "02:00", "to": "03:00"}
    assert [berlin(f"2026-10-25T0{utc}:30:00Z", **hour) for utc in range(4)] == [True, True, False, False]


def test_an_hour_that_does_not_come_does_not_count() -> None:
    """On 29 March 2026 the clock in Berlin goes from 02:00 to 03:00: hours inside are empty, and those around go on."""
    at = [f"2026-03-29T0{utc}:30:00Z" for utc in range(3)]  # 01:30, 03:30, 04:30
    assert not any(berlin(one, **{"from": "02:00", "to": "03:00"}) for one in at)
    assert [berlin(one, **{"from": "01:00", "to": "04:00"}) for one in at] == [True, True, False]


def test_a_clock_that_jumps_back_gets_the_answers_of_then() -> None:
    """Nothing is remembered of the time: what had expired counts again, with the same rights."""
    rights = policy({"rule": rule(conditions={"expires": NOON})}).rights(caller())
    noon = datetime.fromisoformat(NOON)
    times = [noon.replace(hour=hour) for hour in (11, 12, 13, 11, 12)]
    decided = [rights.decide("secrets.access", PASSWORD, now=now, address=None).is_allowed for now in times]
    assert decided == [True, False, False, True, False]


def test_the_zone_in_which_a_caller_tells_the_time_does_not_matter() -> None:
    """A moment is a moment."""
    rights = policy({"rule": rule(conditions={"hours": {"time_zone": "Asia/Kolkata", "from": "17:00"}})}).rights(
        caller()
    )
    noon = datetime.fromisoformat(NOON)
    for zone in (UTC, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Kiritimati")):
        assert rights.decide("secrets.access", PASSWORD, now=noon.astimezone(zone), address=None).is_allowed


def test_a_rule_that_denies_counts_only_under_its_conditions() -> None:
    """Outside of them, it denies nothing."""
    deny = rule(effect="deny", conditions={"networks": ["10.0.0.0/8"]})
    kept_out = policy({"allow": rule(), "deny": deny})
    now = datetime.fromisoformat(NOON)
    assert not kept_out.check(caller(address="10.0.0.1"), "secrets.access", PASSWORD, now).is_allowed
    assert kept_out.check(caller(address="11.0.0.1"), "secrets.access", PASSWORD, now).rule == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-01-05",
        "2026-01-05T12:00:00",
        "2026-01-05 12:00:00Z",
        "2026-01-05T12:00Z",
        "20260105T120000Z",
        "2026-W02-1T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-05T24:00:01Z",
        "2026-01-05T12:00:60Z",
        "2026-01-05T12:00:00+24:00",
        "2026-01-05T12:00:00 Europe/Berlin",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٦-01-05T12:00:00Z",
        "2026-01-05T12:00:00Z\n",
    ],
)
def test_a_time_that_is_no_moment_is_refused(text: str) -> None:
    """Only RFC 3339 with its zone is taken, and only times that there are."""
    for name in ("not_before", "expires"):
        pointer, message = problem({name: text})
        assert pointer == f"/{name}"
        assert "write it with its time zone (RFC 3339), such as 2026-01-31T18:00:00Z" in message


def test_a_time_that_never_comes_is_refused() -> None:
    """A rule that expires before it begins is a mistake."""
    pointer, message = problem({"not_before": NOON, "expires": NOON})
    assert (pointer, message) == ("/expires", "the rule would never count: 'expires' must be later than 'not_before'")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "Unix",
        "10",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "010.0.0.0/8",
        "10.0.0.256",
        " 10.0.0.0/8",
        "10.0.0.0/8\n",
        "\u0661\u0660.0.0.0/8",
        "::/129",
        "fe80::1%eth0",
        "fe80::%eth0/64",
        ":::/0",
    ],
)
def test_a_network_that_is_none_is_refused(text: str) -> None:
    """Only addresses and CIDR networks are taken, and `unix`."""
    pointer, message = problem({"networks": ["unix", text]})
    assert pointer == "/networks/1"
    assert message.endswith("is not a network: write one such as 10.0.0.0/8 or 2001:db8::/32, or 'unix'")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("10.1.2.3/8", "10.0.0.0/8"), ("2001:db8::1/32", "2001:db8::/32"), ("::ffff:10.1.2.3/104", "::ffff:")],
)
def test_a_network_with_bits_behind_its_prefix_is_refused(text: str, meant: str) -> None:
    """It could be a host or a network; the message says how to write the network."""
    pointer, message = problem({"networks": [text]})
    assert pointer == "/networks/0"
    assert f"has bits set behind its prefix: write {meant}" in message


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe", "there is no time zone 'Europe'"),
        ("", "such as Europe/Berlin or UTC"),
        ("../../etc/passwd", "name one"),
        ("/etc/passwd", "name one"),
        ("UTC\x00", "did you mean 'UTC'?"),
        ("tzdata.zi", "name one"),
        ("x" * 5000, "name one"),
        ("+01:00", "name one"),
    ],
)
def test_a_time_zone_that_is_not_known_is_refused(zone: str, hint: str) -> None:
    """Whatever stands there, it opens no file outside of the time zone database."""
    pointer, message = problem({"hours": {"time_zone": zone}})
    assert pointer == "/hours/time_zone"
    assert hint in message
    assert len(message) < 300


def test_a_machine_without_time_zones_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slim image has no time zone database; then the policy is not to blame."""
    monkeypatch.setattr(policy_conditions, "available_timezones", set[str])
    assert "install its package tzdata" in problem({"hours": {"time_zone": "Europe/Nowhere"}})[1]


@pytest.mark.parametrize("text", ["", "8:00", "08:00:00", "24:00", "23:60", "08.00", "8am", "٠٨:00", "08:00\n"])
def test_a_time_of_day_that_is_none_is_refused(text: str) -> None:
    """Only HH:MM is taken; 24:00 can be an end, but not a beginning."""
    assert problem({"hours": {"time_zone": "UTC", "from": text}})[0] == "/hours/from"
    if text != "24:00":
        pointer, message = problem({"hours": {"time_zone": "UTC", "to": text}})
        assert pointer == "/hours/to"
        assert message.endswith("is not a time of day: write HH:MM, such as 08:00")


def test_hours_that_end_where_they_begin_are_refused() -> None:
    """It could be no time, or the whole day."""
    pointer, message = problem({"hours": {"time_zone": "UTC", "from": "08:00", "to": "08:00"}})
    assert pointer == "/hours/to"
    assert message == "'to' is the time of 'from': leave both out for the whole day, or choose another time"
