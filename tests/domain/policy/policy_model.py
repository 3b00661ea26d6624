"""What an access policy means, written again to be plainly right and never mind how slow.

It shares nothing with the policy but the document: every question goes through all rules, groups are followed by recursion,
and patterns are compared character by character.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_network
from zoneinfo import ZoneInfo

from vestryd.domain.identity import Address, Caller, Via
from vestryd.domain.jsonvalue import Json

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def decide(document: Json, caller: Caller, action: str, resource: str, now: datetime) -> tuple[bool, set[str]]:
    """Return whether a call is allowed, and the rules that may be named as the one that decides."""
    if caller.via is Via.NONE or is_disabled(document, caller):
        return False, set()
    about = {
        name: rule
        for name, rule in document.get("rules", {}).items()
        if any(answers_to(document, caller, subject) for subject in rule["subjects"])
        and names_action(document, rule, action)
        and any(matches(pattern.split("/"), resource.split("/")) for pattern in rule["resources"])
        and all_hold(rule.get("conditions", {}), now, caller.address)
    }
    denying = {name for name, rule in about.items() if rule.get("effect") == "deny"}
    return (False, denying) if denying else (bool(about), set(about))


def is_disabled(document: Json, caller: Caller) -> bool:
    users = document.get("users", {}).items()
    return any(user.get("disabled") and answers_to(document, caller, f"user:{name}") for name, user in users)


def answers_to(document: Json, caller: Caller, subject: str) -> bool:
    if subject == "*" or subject in caller.identities:
        return True
    scheme, _, name = subject.partition(":")
    if scheme == "group":
        members = document.get("groups", {}).get(name, {}).get("members", [])
        return name in caller.groups or any(answers_to(document, caller, member) for member in members)
    if scheme == "user":
        others = document.get("users", {}).get(name, {}).get("identities", [])
        return any(answers_to(document, caller, other) for other in others if other != subject)
    return False


def names_action(document: Json, rule: Json, action: str) -> bool:
    patterns = rule.get("actions", []) + [
        pattern for role in rule.get("roles", []) for pattern in document["roles"][role]["actions"]
    ]
    return any(pattern in {"*", action, action.split(".", maxsplit=1)[0] + ".*"} for pattern in patterns)


def matches(pattern: list[str], resource: list[str]) -> bool:
    if pattern == ["**"]:
        return True
    if not pattern or not resource:
        return pattern == resource
    return fits(pattern[0], resource[0]) and matches(pattern[1:], resource[1:])


def fits(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(fits(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return bool(text) and pattern[0] == text[0] and fits(pattern[1:], text[1:])


def all_hold(conditions: Json, now: datetime, address: Address | None) -> bool:
    return (
        ("not_before" not in conditions or datetime.fromisoformat(conditions["not_before"]) <= now)
        and ("expires" not in conditions or now < datetime.fromisoformat(conditions["expires"]))
        and ("networks" not in conditions or any(is_from(network, address) for network in conditions["networks"]))
        and ("hours" not in conditions or is_open(conditions["hours"], now))
    )


def is_from(network: str, address: Address | None) -> bool:
    if network == "unix" or address is None:
        return network == "unix" and address is None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address in ip_network(network)


def is_open(hours: Json, now: datetime) -> bool:
    """Go through the days that the hours may have begun on, and look whether it is between their beginning and their end."""
    local = now.astimezone(ZoneInfo(hours["time_zone"])).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    for day in (midnight - timedelta(days=1), midnight):
        begin = day + time_of_day(hours.get("from", "00:00"))
        end = day + time_of_day(hours.get("to", "24:00"))
        if end <= begin:
            end += timedelta(days=1)
        if DAYS[day.weekday()] in hours.get("days", DAYS) and begin <= local < end:
            return True
    return False


def time_of_day(text: str) -> timedelta:
    hour, minute = text.split(":")
    return timedelta(hours=int(hour), minutes=int(minute))


def is_locked_out(document: Json) -> bool:
    """Try everybody whom the policy names, and somebody whom it doesn't."""
    rules = document.get("rules", {})
    bound = {name: {**rule, "conditions": {}} for name, rule in rules.items() if rule.get("effect") == "deny"}
    free = {name: rule for name, rule in rules.items() if rule.get("effect") != "deny" and not rule.get("conditions")}
    sure = {**document, "rules": {**free, **bound}}
    lists = [
        *([f"user:{name}", *user.get("identities", [])] for name, user in document.get("users", {}).items()),
        *(group["members"] for group in document.get("groups", {}).values()),
        *(rule["subjects"] for rule in rules.values()),
    ]
    named = {one for texts in lists for one in texts if one != "*" and not one.startswith("group:")}
    return not any(can_change(sure, {identity}) for identity in named | {"uid:4294967294"})


def can_change(document: Json, identities: set[str]) -> bool:
    """Tell whether who has these identities can change the policy; for a local administrator, root must not be kept out."""
    now = datetime.now().astimezone()
    if "local:administrator" in identities:
        root = {"uid:0", "user:root"} | identities
        everything = {**document["rules"], "all": {"subjects": ["*"], "actions": ["*"], "resources": ["**"]}}
        kept_in = Caller("", Via.SOCKET, frozenset(root))
        if not decide({**document, "rules": everything}, kept_in, "access.update", "access", now)[0]:
            return False
    return decide(document, Caller("", Via.SOCKET, frozenset(identities)), "access.update", "access", now)[0]
