from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from domain.policy.policies import NOW, PASSWORD, caller, policy, rule
from vestryd.domain.identity import Caller, Via, anonymous
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.decision import Explanation, Lack
from vestryd.domain.policy.policy import Policy

ASKED = f"secrets.access on {PASSWORD}"
# Lets somebody administer the policy, and has nothing to do with what is asked.
NARROW_ROOT = rule("local:administrator", actions=["access.update"], resources=["access"])
EXPIRED = {"expires": "2025-12-31T00:00:00Z"}


def explain(policy: Policy, who: Caller | None = None, action: str = "secrets.access") -> Explanation:
    """Return why the caller (user:bob) may or may not do that now."""
    return policy.explain(who or caller(), action, PASSWORD, NOW)


def nearest(rules: Json, who: Caller | None = None) -> tuple[str, tuple[Lack, ...]]:
    """Return what the sentence says of the rule that comes nearest, and what that lacks."""
    told = explain(policy({**rules, "root": NARROW_ROOT}), who)
    start = f"denied: no rule allows {ASKED} to user:bob; nearest "
    assert told.sentence.startswith(start)
    assert told.nearest in rules
    return told.sentence.removeprefix(start), told.lacks


def test_the_rule_that_allows_is_told_with_the_way_to_its_subject() -> None:
    """The groups that lead from the caller to the rule stand in their order."""
    groups = {"administrators": {"members": ["group:oncall"]}, "oncall": {"members": ["user:alice"]}}
    told = explain(policy({"admins": rule("group:administrators")}, groups=groups), caller("user:alice"))
    assert told.sentence == (
        f"allowed: rule 'admins' allows {ASKED} to user:alice "
        "(user:alice is in group:oncall, which is in group:administrators)"
    )
    assert told.chain == ("user:alice", "group:oncall", "group:administrators")
    assert (told.decision.is_allowed, told.decision.rule, told.nearest, told.lacks) == (True, "admins", "", ())


@pytest.mark.parametrize(
    ("subject", "who", "way"),
    [
        ("user:bob", caller(), "it names user:bob"),
        ("*", caller(), "it is about every known caller"),
        ("uid:7", caller("user:bob", "uid:7"), "user:bob is also uid:7"),
        ("group:audio", caller(groups=("audio",)), "user:bob is in group:audio by its credential"),
        ("user:robert", caller(), "user:bob is user:robert"),
        ("group:staff", caller(), "user:bob is user:robert, which is in group:staff"),
        ("group:staff", caller("uid:7"), "uid:7 is in group:others, which is in group:staff"),
        ("group:staff", caller("user:bob", "uid:7", groups=("staff",)), "user:bob is in group:staff by its credential"),
        (
            "group:staff",
            caller("user:eve", "uid:7"),
            "user:eve is also uid:7, which is in group:others, which is in group:staff",
        ),
        (
            "group:staff",
            caller("cn:x", groups=("others",)),
            "cn:x is in group:others by its credential, which is in group:staff",
        ),
    ],
)
def test_the_shortest_way_to_a_subject_is_told(subject: str, who: Caller, way: str) -> None:
    """By name, by another identity, by a user, by a declared group, by one of the credential's, or as everybody."""
    told = explain(
        policy(
            {"rule": rule("uid:999", subject)},
            users={"robert": {"identities": ["user:bob"]}},
            groups={"staff": {"members": ["user:robert", "group:others"]}, "others": {"members": ["uid:7"]}},
        ),
        who,
    )
    assert told.sentence == f"allowed: rule 'rule' allows {ASKED} to {who.name} ({way})"


def test_the_rule_that_denies_is_told() -> None:
    """Who should change something learns which rule, and by which of the caller's groups."""
    rules = {"open": rule(), "no-contractors": rule("group:contractors", effect="deny")}
    told = explain(policy(rules), caller(groups=("contractors",)))
    assert told.sentence == (
        f"denied: rule 'no-contractors' denies {ASKED} to user:bob (user:bob is in group:contractors by its credential)"
    )
    assert told.decision.rule == "no-contractors"
    assert told.nearest == ""


def test_a_rule_that_would_deny_is_told_with_the_conditions_that_failed() -> None:
    """Today it is allowed; tonight it may not be."""
    told = explain(policy({"open": rule(), "once": rule(effect="deny", conditions=EXPIRED)}))
    assert told.sentence == (
        f"allowed: rule 'open' allows {ASKED} to user:bob (it is about every known caller); "
        "rule 'once' denies it, but counts only until 2025-12-31T00:00:00Z"
    )
    assert told.unmet == {"once": ("only until 2025-12-31T00:00:00Z",)}


def test_a_rule_that_lacks_the_action_is_told() -> None:
    """With the actions that it allows, those of the same noun first."""
    rules = {"billing-readers": rule("user:bob", actions=["config.read", "secrets.get"])}
    assert nearest(rules) == ("rule 'billing-readers' allows secrets.get and config.read on it", (Lack.ACTION,))


def test_a_rule_that_lacks_the_resource_is_told() -> None:
    """With the resources that it allows, and not with hundreds of them."""
    rules = {"shop": rule(resources=[f"namespaces/shop/secrets/{name}" for name in "abcde"])}
    shops = "namespaces/shop/secrets/a, namespaces/shop/secrets/b, namespaces/shop/secrets/c and 2 more"
    assert nearest(rules) == (f"rule 'shop' allows it on {shops}", (Lack.RESOURCE,))


def test_a_rule_that_lacks_the_subject_is_told() -> None:
    """With the subjects that it allows it to."""
    rules = {"oncall": rule("group:oncall", "user:alice")}
    assert nearest(rules) == ("rule 'oncall' allows it to group:oncall and user:alice", (Lack.SUBJECT,))


def test_a_rule_that_lacks_conditions_is_told() -> None:
    """With all the conditions that failed, in words, and none of those that hold."""
    hours = {"days": ["sat", "sun"], "from": "08:00", "to": "18:00", "time_zone": "Europe/Berlin"}
    conditions = {
        "not_before": "2026-02-01T00:00:00+01:00",
        "expires": "2027-01-01T00:00:00Z",
        "networks": ["10.0.0.0/8", "unix"],
        "hours": hours,
    }
    words, lacks = nearest({"office": rule(conditions=conditions)}, caller(address="192.0.2.1"))
    assert lacks == (Lack.CONDITION,)
    assert words == (
        "rule 'office' allows it, but counts only from 2026-01-31T23:00:00Z on and only from 10.0.0.0/8 or a unix socket "
        "and only on sat, sun from 08:00 to 18:00 Europe/Berlin"
    )


def test_a_rule_that_lacks_several_things_is_told_with_all() -> None:
    """Each part of the call that the rule isn't about is named."""
    rules = {"far": rule("uid:7", actions=["secrets.put"], conditions=EXPIRED)}
    assert nearest(rules) == (
        "rule 'far' allows secrets.put on it to uid:7, but counts only until 2025-12-31T00:00:00Z",
        (Lack.CONDITION, Lack.ACTION, Lack.SUBJECT),
    )


def test_the_nearest_rule_lacks_least() -> None:
    """First the fewest lacks; of as many, the easiest to mend; then the likest rule; then the first by name."""
    two = rule("uid:7", actions=["secrets.put"])
    subject, place, action = rule("uid:7"), rule(resources=["a"]), rule(actions=["config.read"])
    same_noun, late = rule(actions=["secrets.get"]), rule(conditions=EXPIRED)
    likely = rule(resources=["namespaces/*/secrets/a"])
    order = [two, subject, place, likely, action, same_noun, late]
    for worse, better in pairwise([*order, late]):
        rules = {"b": better, "c": worse} if worse is better else {"b": better, "a": worse}
        assert explain(policy({**rules, "root": NARROW_ROOT})).nearest == "b"


def test_a_rule_about_something_else_altogether_is_not_near() -> None:
    """When all rules lack the subject, the action and the resource, none is named; nor is one that denies."""
    deny = rule("uid:7", effect="deny")
    told = explain(policy({"no": deny, "root": NARROW_ROOT}))
    assert told.sentence == f"denied: no rule allows {ASKED} to user:bob"
    assert (told.chain, told.nearest, told.lacks) == ((), "", ())
    assert explain(policy({"no": deny})).nearest == "root"  # it allows everything, to somebody else


def test_who_may_do_nothing_is_told_why() -> None:
    """No rule matters for a caller who is not known, nor for a disabled user."""
    closed = policy({"rule": rule()}, users={"bob": {"disabled": True}})
    unknown = "denied: a caller who is not known may do nothing: call with credentials"
    assert explain(closed, anonymous()).sentence == unknown
    assert explain(closed, replace(caller("user:eve"), via=Via.NONE)).sentence == unknown
    assert explain(closed).sentence == "denied: user:bob is disabled"


def test_conditions_are_explained_for_the_time_that_is_asked_about() -> None:
    """The same rule allows before its end, and is nearest after it."""
    office = policy({"office": rule(conditions={"expires": "2026-01-05T12:00:00Z"})})
    before = office.explain(caller(), "secrets.access", PASSWORD, NOW - timedelta(seconds=1))
    after = office.explain(caller(), "secrets.access", PASSWORD, NOW)
    assert (before.decision.rule, before.unmet) == ("office", {})
    assert (after.nearest, after.unmet) == ("office", {"office": ("only until 2026-01-05T12:00:00Z",)})


def test_what_a_caller_made_up_stands_quoted() -> None:
    """A name or a resource can't draw on the terminal of who reads the explanation."""
    told = policy().explain(caller("user:\x1b[2J"), "secrets.get", "a\nb", NOW)
    assert told.sentence.startswith(
        r"denied: no rule allows secrets.get on 'a\nb' to 'user:\x1b[2J'; nearest rule 'root'"
    )
