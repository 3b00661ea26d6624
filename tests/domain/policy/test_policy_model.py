"""The policy against its model, over policies, callers and resources that nobody would think of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from hypothesis import event, given
from hypothesis import strategies as st

from domain.policy import policy_model as model
from domain.policy.policies import ACTIONS, ROOT
from vestryd.domain.errors import SourceInvalid
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.policy import compile_policy

NAMES = [
    "bob",
    "Zoë",
    "a b",
    "a:b",
    "*",
    "~1",
    "group:x",
    "日本",
]  # of users and of groups, in the order they may nest in
IDENTITIES = [
    "uid:0",
    "uid:7",
    "cn:bob",
    "dns:*",
    "spiffe://example.org/a/b",
    LOCAL_ADMINISTRATOR,
    "user:nobody",
    "user:root",
]
SEGMENTS = ["a", "b", "ab", "aba", "access", "ü", "*", "**", " ", ""]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]
ADDRESSES = ["10.0.0.1", "11.0.0.1", "::ffff:10.0.0.1", "::1", "2001:db8::1", None]
NETWORKS = ["10.0.0.0/8", "0.0.0.0/0", "::/0", "::1", "2001:db8::/32", "unix"]
CLOCK_CHANGES = [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]  # in Berlin


def some(values: Sequence[str], *, least: int = 0, most: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True)


@st.composite
def nested(draw: st.DrawFn, prefix: str, member: str, others: list[str]) -> Json:
    """Return users or groups, each of them holding others and later ones of their kind."""
    made = {}
    for place, name in enumerate(NAMES):
        if draw(st.booleans()):
            made[name] = {member: draw(some([*others, *(f"{prefix}{later}" for later in NAMES[place + 1 :])]))}
    return made


GLOBS = st.builds(
    lambda head, parts, tail: head + "*".join(parts) + tail,
    st.sampled_from(["", "*"]),
    st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=3),
    st.sampled_from(["", "*"]),
)
PATTERNS = st.builds(
    lambda segments, last: "/".join([*segments, last]),
    st.lists(st.sampled_from(["a", "b", "*", "access", "ü", " "]) | GLOBS, max_size=3),
    st.sampled_from(["**", "*", "a", "access"]) | GLOBS,
) | st.sampled_from(["**", "*", "*/*", "a/**", "*/a/**"])
RESOURCES = st.lists(st.sampled_from(SEGMENTS) | st.text("ab", max_size=6), min_size=1, max_size=4).map("/".join)
MOMENTS = st.builds(
    lambda start, minutes: start + timedelta(minutes=minutes),
    st.sampled_from(CLOCK_CHANGES),
    st.integers(-5 * 24 * 60, 5 * 24 * 60),
)
HOURS = st.fixed_dictionaries(
    {"time_zone": st.sampled_from(ZONES)},
    optional={
        "days": some(model.DAYS, least=1, most=7),
        "from": st.sampled_from(["00:30", "08:00", "22:00"]),
        "to": st.sampled_from(["02:30", "06:00", "18:00", "24:00"]),
    },
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "not_before": st.just(CLOCK_CHANGES[0].isoformat()),
        "expires": st.just(CLOCK_CHANGES[1].isoformat()),
        "networks": some(NETWORKS, least=1),
        "hours": HOURS,
    },
)
SUBJECTS = [*IDENTITIES, *(f"user:{name}" for name in NAMES), *(f"group:{name}" for name in [*NAMES, "undeclared"])]
PATTERNS_OF_ACTIONS = ["*", "access.*", "secrets.*", "access.update", "secrets.get"]
RULES = st.fixed_dictionaries(
    {
        "subjects": some(["*", *SUBJECTS], least=1, most=6),
        "actions": some(PATTERNS_OF_ACTIONS, least=1),
        "resources": st.lists(PATTERNS, min_size=1, max_size=5),
        "effect": st.sampled_from(["allow", "deny"]),
    },
    optional={
        "conditions": CONDITIONS,
        "roles": some(["reader", "writer"], least=1),
    },
)


@st.composite
def documents(draw: st.DrawFn) -> Json:
    users = draw(nested("user:", "identities", IDENTITIES))
    for user in users.values():
        if draw(st.integers(0, 9)) == 0:
            user["disabled"] = True
    members = [*IDENTITIES, *(f"user:{name}" for name in NAMES), "group:undeclared"]
    return {
        "users": users,
        "groups": draw(nested("group:", "members", members)),
        "roles": {"reader": {"actions": ["config.read", "secrets.get"]}, "writer": {"actions": ["secrets.*"]}},
        "rules": draw(st.dictionaries(st.sampled_from("abcdefgh"), RULES, max_size=8)),
    }


CALLERS = st.builds(
    lambda via, identities, groups, address: Caller(
        "somebody", via, frozenset(identities), frozenset(groups), address=ip_address(address) if address else None
    ),
    st.sampled_from([Via.TOKEN] * 9 + [Via.NONE]),
    some([*IDENTITIES, *(f"user:{name}" for name in NAMES)], least=1, most=6),
    some([*NAMES, "undeclared", "another"]),
    st.sampled_from(ADDRESSES),
)
CALLS = st.tuples(CALLERS, st.sampled_from([*sorted(ACTIONS), "secrets.guess"]), RESOURCES, MOMENTS)


@given(documents(), st.lists(CALLS, min_size=8, max_size=16))
def test_a_policy_decides_as_its_model_does(document: Json, calls: list[tuple[Caller, str, str, datetime]]) -> None:
    """Every call has the model's answer, by a rule that decides in the model; explanations repeat it and add up."""
    document["rules"] = {name: rule for name, rule in document["rules"].items() if not locks_all_out(rule)}
    document["rules"]["root"] = {**ROOT, "subjects": ["uid:12345"], "resources": ["access"]}
    policy = compile_policy(document, actions=ACTIONS)
    for caller, action, resource, now in calls:
        is_allowed, rules = model.decide(document, caller, action, resource, now)
        decision = policy.check(caller, action, resource, now)
        event(f"allowed: {is_allowed}, by a rule: {bool(rules)}")
        assert decision.is_allowed == (is_allowed and action in ACTIONS)
        assert decision.rule in (rules if action in ACTIONS and rules else {""})
        explanation = policy.explain(caller, action, resource, now)
        assert explanation.decision == decision
        assert explanation.sentence.startswith("allowed: " if decision.is_allowed else "denied: ")
        assert not (explanation.nearest and decision.rule)
        assert bool(explanation.lacks) == bool(explanation.nearest)


@given(documents())
def test_a_policy_locks_out_as_its_model_does(document: Json) -> None:
    """A policy is refused exactly when the model finds nobody who can surely change it."""
    refused: set[str] = set()
    try:
        compile_policy(document, actions=ACTIONS)
    except SourceInvalid as error:
        refused = {violation.rule for violation in error.violations}
    event(f"refused: {refused}")
    assert refused == ({"lockout"} if model.is_locked_out(document) else set())


@given(st.dictionaries(st.sampled_from("abcdef"), some([f"group:{name}" for name in "abcdef"])))
def test_groups_are_refused_when_their_model_never_ends(groups: dict[str, list[str]]) -> None:
    """Following the members ends, or they go round in a circle: then the policy is refused, and for nothing else."""
    document = {"groups": {name: {"members": members} for name, members in groups.items()}, "rules": {"root": ROOT}}
    refused: set[str] = set()
    try:
        compile_policy(document, actions=ACTIONS)
    except SourceInvalid as error:
        refused = {violation.rule for violation in error.violations}
    try:
        for name in groups:
            model.answers_to(document, Caller("", Via.TOKEN), f"group:{name}")
        assert not refused
    except RecursionError:
        assert refused == {"cycle"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "rules",
                        "users",
                        "groups",
                        "roles",
                        "subjects",
                        "actions",
                        "resources",
                        "conditions",
                        "hours",
                        "x",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_whatever_is_no_policy_is_refused_and_nothing_else_happens(document: Json) -> None:
    """Any JSON value at all is compiled or refused with violations."""
    with suppress(SourceInvalid):
        compile_policy(document, actions=ACTIONS)


def locks_all_out(rule: Json) -> bool:
    """Tell whether a rule denies something to everybody: to change the policy, it may be, and no other rule helps then."""
    return rule.get("effect") == "deny" and "*" in rule["subjects"]
