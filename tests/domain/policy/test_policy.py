from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from domain.policy.policies import ACTIONS, NOW, PASSWORD, ROOT, allows, caller, policy, rule
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Via, anonymous
from vestryd.domain.policy.policy import BUILT_IN, MAX_CALLERS, compile_policy


def test_what_no_rule_allows_is_denied() -> None:
    """The default is to deny, and the problem names the action and the resource."""
    decision = policy().check(caller(), "secrets.access", PASSWORD, NOW)
    assert (decision.is_allowed, decision.rule) == (False, "")
    assert decision.problem == f"no rule allows secrets.access on {PASSWORD}"


def test_a_rule_allows_its_actions_on_its_resources_to_its_subjects() -> None:
    """Each of the three must fit."""
    allowed = policy({"billing": rule("user:bob")})
    assert allowed.check(caller(), "secrets.access", PASSWORD, NOW).rule == "billing"
    assert not allows(allowed, caller("user:eve"))
    assert not allows(allowed, action="secrets.get")
    assert not allows(allowed, resource=f"{PASSWORD}2")


def test_a_rule_that_denies_wins() -> None:
    """No number of rules that allow outweighs one that denies; the problem names it."""
    denied = policy({"a": rule(), "deny": rule("user:bob", effect="deny"), "z": rule("user:bob")})
    decision = denied.check(caller(), "secrets.access", PASSWORD, NOW)
    assert (decision.is_allowed, decision.rule) == (False, "deny")
    assert decision.problem == f"rule 'deny' denies secrets.access on {PASSWORD}"
    assert allows(denied, caller("user:eve"))


@pytest.mark.parametrize("pattern", ["secrets.access", "secrets.*", "*"])
def test_an_action_is_named_by_itself_by_its_noun_or_with_all(pattern: str) -> None:
    """`noun.*` are the actions of a noun, `*` all."""
    named = policy({"rule": rule(actions=[pattern])})
    assert allows(named)
    assert allows(named, action="secrets.get") == (pattern != "secrets.access")
    assert allows(named, action="config.read") == (pattern == "*")


def test_a_noun_is_not_another_that_begins_like_it() -> None:
    """`secret.*` has nothing to do with `secrets.get`."""
    document = {"rules": {"root": ROOT, "rule": rule(actions=["secret.*"])}}
    named = compile_policy(document, actions={**ACTIONS, "secret.get": ("**",)})
    assert allows(named, action="secret.get")
    assert not allows(named, action="secrets.get")


def test_an_unknown_action_is_allowed_by_no_rule() -> None:
    """`*` are all the actions that there are, not all that somebody may ask for."""
    assert not allows(policy({"all": rule(actions=["*"])}), action="secrets.guess")


def test_a_role_stands_for_its_actions() -> None:
    """A rule has the actions of its roles besides its own."""
    named = policy(
        {"rule": {"subjects": ["*"], "roles": ["reader"], "actions": ["config.update"], "resources": ["**"]}},
        roles={"reader": {"actions": ["secrets.get", "config.read"], "description": "looks"}},
    )
    assert [one for one in sorted(ACTIONS) if allows(named, action=one)] == [
        "config.read",
        "config.update",
        "secrets.get",
    ]


def test_a_user_is_known_by_each_of_its_identities() -> None:
    """A user's name stands for itself and for what the policy lists."""
    named = policy(
        {"rule": rule("user:bob")}, users={"bob": {"identities": ["uid:1000", "spiffe://example.org/bob", "user:bob"]}}
    )
    for identity in ("user:bob", "uid:1000", "spiffe://example.org/bob"):
        assert allows(named, caller(identity))
    assert not allows(named, caller("uid:1001"))
    assert named.identities(caller("uid:1000")) == ("uid:1000", "user:bob")


def test_an_identity_is_not_the_others_of_its_user() -> None:
    """A rule about one identity of a user is not about the others."""
    named = policy({"rule": rule("uid:1000")}, users={"bob": {"identities": ["uid:1000", "uid:1001"]}})
    assert allows(named, caller("uid:1000"))
    assert not allows(named, caller("uid:1001"))


@pytest.mark.parametrize("identity", ["user:bob", "uid:1000", "user:robert"])
def test_a_disabled_user_may_do_nothing(identity: str) -> None:
    """Whatever the rules say, by whichever identity the user comes."""
    users = {
        "bob": {"disabled": True, "identities": ["uid:1000", "user:robert"]},
        "eve": {"disabled": False},
    }
    disabled = policy({"rule": rule(identity, "*")}, users=users)
    assert disabled.check(caller(identity), "secrets.access", PASSWORD, NOW).problem == "user:bob is disabled"
    assert allows(disabled, caller("user:eve"))


def test_a_group_holds_its_members_and_their_members() -> None:
    """Groups nest."""
    groups = {
        "all": {"members": ["group:most"]},
        "most": {"members": ["group:some", "uid:7"]},
        "some": {"members": ["user:bob"]},
        "none": {"members": []},
    }
    grouped = policy({"rule": rule("group:all")}, groups=groups)
    assert allows(grouped)
    assert allows(grouped, caller("uid:7"))
    assert not allows(grouped, caller("user:eve"))
    assert grouped.groups(caller()) == ("all", "most", "some")


def test_a_credential_puts_its_bearer_in_groups() -> None:
    """Those need not be declared, and may be in declared ones."""
    grouped = policy({"rule": rule("group:staff")}, groups={"staff": {"members": ["group:unix-staff"]}})
    assert allows(grouped, caller(groups=("staff",)))
    assert allows(grouped, caller(groups=("unix-staff",)))
    assert grouped.groups(caller(groups=("unix-staff", "audio"))) == ("audio", "staff", "unix-staff")


def test_a_star_is_every_known_caller() -> None:
    """Also one whom the policy doesn't mention."""
    assert allows(policy({"rule": rule("*")}), caller("dns:unheard.example.org"))


def test_a_caller_who_is_not_known_may_do_nothing() -> None:
    """Not even what everybody may, nor what the identities that it claims may."""
    open_door = policy({"rule": rule("*", "user:bob", "group:staff")})
    pretender = replace(caller(groups=("staff",)), via=Via.NONE)
    for one in (anonymous(ip_address("127.0.0.1")), pretender):
        decision = open_door.check(one, "secrets.access", PASSWORD, NOW)
        assert not decision.is_allowed
        assert decision.problem == "a caller who is not known may do nothing: call with credentials"


def test_an_identity_is_never_a_group() -> None:
    """What has no identity's scheme is not looked up among the subjects."""
    grouped = policy({"rule": rule("group:staff")}, groups={"staff": {"members": []}})
    assert not allows(grouped, caller("group:staff"))


def test_of_several_rules_the_first_without_conditions_decides() -> None:
    """Which rule decides doesn't depend on the order in which a document has them."""
    always = {"expires": "2100-01-01T00:00:00Z"}
    rules = {"c": rule(), "a": rule(conditions=always), "b": rule()}
    backwards = dict(reversed(rules.items()))
    for one in (rules, backwards):
        assert policy(one).check(caller(), "secrets.access", PASSWORD, NOW).rule == "b"


def test_the_built_in_policy_is_the_local_administrators() -> None:
    """They may do everything, and others nothing."""
    built_in = compile_policy(BUILT_IN, actions=ACTIONS)
    for action in ACTIONS:
        assert built_in.check(caller(LOCAL_ADMINISTRATOR), action, "any/thing", NOW).is_allowed
        assert not built_in.check(caller("uid:1000"), action, "any/thing", NOW).is_allowed


def test_rights_are_kept_for_the_callers_of_late() -> None:
    """The same identities and groups have the same rights; however many callers there are, memory is bounded."""
    kept = policy({"rule": rule("user:bob")})
    rights = kept.rights(caller())
    assert kept.rights(replace(caller(), address=ip_address("::1"), credential="another")) is rights
    for number in range(MAX_CALLERS):
        kept.rights(caller(f"uid:{number}"))
    assert kept.rights(caller()) is not rights
    assert allows(kept)


def test_rules_beyond_the_bits_of_a_machine_word_are_found() -> None:
    """A policy may have thousands of rules."""
    rules = {f"rule-{number}": rule(resources=[f"namespaces/{number}/config"]) for number in range(3000)}
    many = policy(rules)
    assert many.check(caller(), "secrets.access", "namespaces/2999/config", NOW).rule == "rule-2999"
    assert not allows(many, resource="namespaces/3000/config")


def test_a_refusal_holds_no_character_that_harms_a_terminal() -> None:
    """A resource that a caller made up stands quoted in the problem."""
    assert (
        policy().check(caller(), "secrets.get", "a\x1b[2J", NOW).problem == r"no rule allows secrets.get on 'a\x1b[2J'"
    )


def test_a_policy_of_rules_alone_is_enough() -> None:
    """Users, groups and roles may be left out."""
    assert compile_policy({"rules": {"root": ROOT}}, actions=ACTIONS).groups(caller()) == ()
