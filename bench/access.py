"""Access: one check against a policy of 1000 rules, in this process, beside the same check under the built-in policy."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bench.effort import Effort
from bench.report import Goal, Row
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.policy.policy import BUILT_IN, Policy, compile_policy
from vestryd.services.methods import actions, table

SECTION = "access"
RULES = 1000
CHECKS = 20_000
ACTION = "secrets.access"
ACTIONS = actions(table().values())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMINISTRATOR = Caller(LOCAL_ADMINISTRATOR, Via.SOCKET, frozenset({LOCAL_ADMINISTRATOR}))
ALICE = Caller(
    "user:alice", Via.TOKEN, frozenset({"user:alice", "uid:1000"}), frozenset({"staff"}), address=ip_address("10.1.2.3")
)

Rule = dict[str, Any]


def measure(_directory: Path, effort: Effort) -> list[Row]:
    """Measure the check of a caller that is at hand, what its first check costs, and how long a policy takes to compile."""
    floor = _microseconds(compile_policy(BUILT_IN, actions=ACTIONS), ADMINISTRATOR, "namespaces/a/secrets/b", effort)
    rows = []
    for what, (rule, resource) in CASES.items():
        checks = _microseconds(compile_policy(_policy(rule), actions=ACTIONS), ALICE, resource, effort)
        goal = Goal("value", most=5)
        rows.append(Row(SECTION, f"{RULES} rules: {what}", "µs", checks, "the built-in policy", floor, goal))
    policy = _policy(_distinct)
    rows.append(Row(SECTION, f"{RULES} rules: a caller's first check", "µs", _first_checks(policy, effort)))
    compiling = timeit.Timer(lambda: compile_policy(policy, actions=ACTIONS)).repeat(effort.rounds, 1)
    rows.append(Row(SECTION, f"{RULES} rules: compiled", "ms", [seconds * 1e3 for seconds in compiling]))
    return rows


def _allow(resource: str) -> Rule:
    return {"subjects": ["user:alice"], "actions": [ACTION], "resources": [resource]}


def _distinct(number: int) -> Rule:
    return _allow(f"namespaces/ns-{number}/secrets/name-{number}")


def _wildcards(number: int) -> Rule:
    return _allow(f"namespaces/*/secrets/app{number}-*-key")


def _allow_and_deny(number: int) -> Rule:
    effect = {"effect": "deny", "actions": ["secrets.delete"]} if number % 2 else {}
    return {**_allow(f"namespaces/ns-{number // 2}/**"), **effect}


def _conditions(number: int) -> Rule:
    conditions = {
        "not_before": "2025-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z",
        "networks": ["10.0.0.0/8"],
        "hours": {"time_zone": "Europe/Berlin"},
    }
    return {**_allow(f"namespaces/ns-{number}/**"), "conditions": conditions}


CASES: Mapping[str, tuple[Callable[[int], Rule], str]] = {  # what is measured -> the rules, and the resource
    "a resource each": (_distinct, "namespaces/ns-500/secrets/name-500"),
    "a resource each, and none fits": (_distinct, "namespaces/ns-500/secrets/other"),
    "a pattern with wildcards each": (_wildcards, "namespaces/ns/secrets/app500-db-key"),
    "half of them deny": (_allow_and_deny, "namespaces/ns-250/secrets/name"),
    "four conditions each": (_conditions, "namespaces/ns-500/secrets/name"),
}


def _policy(rule: Callable[[int], Rule]) -> dict[str, Any]:
    root = {"subjects": [LOCAL_ADMINISTRATOR], "actions": ["*"], "resources": ["**"]}
    return {"rules": {"root": root, **{f"rule-{number:04}": rule(number) for number in range(RULES - 1)}}}


def _microseconds(policy: Policy, caller: Caller, resource: str, effort: Effort) -> list[float]:
    """Return what a check takes, in each round."""
    timer = timeit.Timer(lambda: policy.check(caller, ACTION, resource, NOW))
    return [seconds / CHECKS * 1e6 for seconds in timer.repeat(effort.rounds, CHECKS)]


def _first_checks(document: dict[str, Any], effort: Effort) -> list[float]:
    """Return what the check of a caller takes that the policy has not met yet, in each round."""
    callers = [Caller(f"user:{number}", Via.TOKEN, frozenset({f"user:{number}"})) for number in range(RULES)]
    taken = []
    for _ in range(effort.rounds):
        policy = compile_policy(document, actions=ACTIONS)
        started = time.perf_counter()
        for caller in callers:
            policy.check(caller, ACTION, "namespaces/a/secrets/b", NOW)
        taken.append((time.perf_counter() - started) / len(callers) * 1e6)
    return taken
