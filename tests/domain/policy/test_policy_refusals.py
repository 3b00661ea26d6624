from __future__ import annotations

import time
from typing import Any

import pytest

from domain.policy.policies import ACTIONS, ROOT, policy, refusal, refusals, rule
from vestryd.domain.errors import SourceInvalid
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.findings import MAX_FINDINGS
from vestryd.domain.policy.policy import compile_policy
from vestryd.domain.policy.schema import POLICY_SCHEMA


def document(bad: Json | None = None, **sections: Json) -> Json:
    """Return a policy that is fine, but for the rule `bad` and the sections."""
    return {"rules": {"root": ROOT} if bad is None else {"root": ROOT, "bad": bad}, **sections}


@pytest.mark.parametrize(
    ("content", "pointer", "word"),
    [
        (None, "", "type"),
        ([], "", "type"),
        ({"rule": {}}, "", "additionalProperties"),
        ({"rules": []}, "/rules", "type"),
        ({"users": {"bob": None}}, "/users/bob", "type"),
        ({"users": {"bob": {"disabled": "yes"}}}, "/users/bob/disabled", "type"),
        ({"users": {"bob": {"disabled": 1}}}, "/users/bob/disabled", "type"),
        ({"users": {"bob": {"identities": "uid:1"}}}, "/users/bob/identities", "type"),
        ({"users": {"bob": {"identities": [1000]}}}, "/users/bob/identities/0", "type"),
        ({"users": {"bob": {"identity": []}}}, "/users/bob", "additionalProperties"),
        ({"groups": {"staff": {}}}, "/groups/staff", "required"),
        ({"groups": {"staff": {"members": [], "member": []}}}, "/groups/staff", "additionalProperties"),
        ({"roles": {"reader": {"actions": []}}}, "/roles/reader/actions", "minItems"),
        ({"rules": {"r": {"actions": ["*"], "resources": ["**"]}}}, "/rules/r", "required"),
        ({"rules": {"r": {"actions": ["*"], "subjects": ["*"]}}}, "/rules/r", "required"),
        ({"rules": {"r": rule(effect="Deny")}}, "/rules/r/effect", "enum"),
        ({"rules": {"r": rule(effect=None)}}, "/rules/r/effect", "enum"),
        ({"rules": {"r": rule(subjects=[])}}, "/rules/r/subjects", "minItems"),
        ({"rules": {"r": rule(resources=[])}}, "/rules/r/resources", "minItems"),
        ({"rules": {"r": rule(resources="**")}}, "/rules/r/resources", "type"),
        ({"rules": {"r": rule(action=["*"])}}, "/rules/r", "additionalProperties"),
        ({"rules": {"r": rule(conditions=[])}}, "/rules/r/conditions", "type"),
        ({"rules": {"r": rule(conditions={"until": ""})}}, "/rules/r/conditions", "additionalProperties"),
        ({"rules": {"r": rule(conditions={"expires": 0})}}, "/rules/r/conditions/expires", "type"),
        ({"rules": {"r": rule(conditions={"networks": []})}}, "/rules/r/conditions/networks", "minItems"),
        ({"rules": {"r": rule(conditions={"hours": {}})}}, "/rules/r/conditions/hours", "required"),
        (
            {"rules": {"r": rule(conditions={"hours": {"time_zone": "UTC", "days": ["Mon"]}})}},
            "/rules/r/conditions/hours/days/0",
            "enum",
        ),
        (
            {"rules": {"r": rule(conditions={"hours": {"time_zone": "UTC", "From": "08:00"}})}},
            "/rules/r/conditions/hours",
            "additionalProperties",
        ),
    ],
)
def test_a_document_of_another_shape_is_refused(content: Json, pointer: str, word: str) -> None:
    """Nothing unknown is passed over, and nothing is guessed from a wrong type."""
    found = [(one.pointer, one.rule) for one in refusals(content)]
    assert found == [(pointer, word)]
    assert [(one.pointer, one.rule) for one in POLICY_SCHEMA.violations(content)] == found


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        ("secrets.acces", ": did you mean 'secrets.access'?"),
        ("secret.*", ": did you mean 'secrets.*'?"),
        ("Secrets.Access", ": did you mean 'secrets.access'?"),
        ("", ": name one as 'noun.verb', or use 'noun.*' or '*'"),
        ("**", ": did you mean '*'?"),
        ("*.get", ": name one as"),
        ("secrets.a*", ""),
        ("secrets", ""),
        ("x" * 100_000, ": name one as"),
    ],
)
def test_an_unknown_action_is_refused(action: str, hint: str) -> None:
    """In a rule as in a role; the message names the nearest."""
    for content, place in (
        (document(rule(actions=["*", action])), "/rules/bad/actions/1"),
        (document(roles={"a~b": {"actions": [action]}}), "/roles/a~0b/actions/0"),
    ):
        found = [one for one in refusals(content) if one.rule == "unknown_action"]
        assert [one.pointer for one in found] == [place]
        assert found[0].message.startswith("there is no action ")
        assert hint in found[0].message
        assert len(found[0].message) < 300


def test_an_unknown_role_is_refused() -> None:
    """The message names the nearest, or says where roles are declared."""
    roles = {"reader": {"actions": ["config.read"]}}
    pointer, word, message = refusal(document(rule(roles=["reader", "raeder"]), roles=roles))
    assert (pointer, word) == ("/rules/bad/roles/1", "unknown_role")
    assert message == "there is no role 'raeder': did you mean 'reader'?"
    assert refusal(document(rule(roles=["x"])))[2] == "there is no role 'x': declare it in /roles"


def test_a_rule_about_nothing_is_refused() -> None:
    """It needs actions or roles."""
    bad = {"subjects": ["*"], "resources": ["**"]}
    assert refusal(document(bad))[:2] == ("/rules/bad", "required")


@pytest.mark.parametrize(
    ("subject", "hint"),
    [
        (
            "bob",
            "it has no scheme: write user:, uid:, spiffe://, dns:, cn: or local: before it, 'group:' before a group",
        ),
        ("staff", "did you mean 'group:staff'?"),
        ("", "no scheme"),
        ("**", "or '*' for every known caller"),
        ("User:bob", "did you mean 'user:bob'?"),
        ("http://example.org", "no scheme"),
        ("spiffe:/example.org", "no scheme"),
        ("user:", "it is empty"),
        ("group:", "it is empty"),
        ("spiffe://", "it is empty"),
        ("user:a/b", "it has a '/'"),
        ("group:a/b", "it has a '/'"),
        ("uid:bob", "a user id is a number without leading zeros"),
        ("uid:0100", "a user id is a number"),
        ("uid:-1", "a user id is a number"),
        ("uid:\u0661", "a user id is a number"),
        ("local:administrater", "did you mean 'local:administrator'?"),
        ("local:", "the daemon knows local:administrator alone"),
        ("user:bob\n", "U+000A"),
        ("cn:a\x00b", "U+0000"),
        ("dns:\u202egro.elpmaxe", "U+202E"),
        ("user:Zoe\u0308", "NFC: write 'Zoë'"),
        ("cn:" + "x" * 4096, "4096 characters, and at most 2048"),
        ("user:" + "x" * 129, "129 characters, and at most 128"),
    ],
)
def test_a_subject_that_names_nobody_is_refused(subject: str, hint: str) -> None:
    """A mistyped subject would allow too little, or deny too little."""
    people: Json = {"users": {"bob": {}}, "groups": {"staff": {"members": []}}}
    pointer, word, message = refusal(document(rule(subjects=["*", subject]), **people))
    assert (pointer, word) == ("/rules/bad/subjects/1", "identity")
    assert hint in message
    assert len(message) < 500


def test_a_user_is_identities_alone() -> None:
    """It can hold neither a group nor everybody."""
    for identity in ("group:staff", "*", "bob"):
        content = document(users={"bob": {"identities": ["uid:1000", identity]}})
        assert refusal(content)[:2] == ("/users/bob/identities/1", "identity")


def test_a_group_can_not_hold_everybody() -> None:
    """`*` is for the subjects of a rule."""
    pointer, word, message = refusal(document(groups={"all": {"members": ["*"]}}))
    assert (pointer, word) == ("/groups/all/members/0", "identity")
    assert message == "'*' names nobody: '*' can't be in a group: name it as a subject of the rule"


@pytest.mark.parametrize("section", ["users", "groups", "roles", "rules"])
@pytest.mark.parametrize("name", ["", "a/b", "a\x00", "a\u200bb", "Zoe\u0308", "x" * 129])
def test_a_name_that_could_deceive_is_refused(section: str, name: str) -> None:
    """Names are compared byte by byte, so they look like what they are."""
    member: dict[str, Any] = {"users": {}, "groups": {"members": []}, "roles": {"actions": ["*"]}, "rules": rule()}
    content = document()
    content[section] = {**content.get(section, {}), name: member[section]}
    pointer, word, message = refusal(content)
    assert (pointer, word) == (f"/{section}/{name.replace('/', '~1')}", "name")
    assert message.startswith("the name ")


@pytest.mark.parametrize(
    "name", ["bob", "Domain Users", "CORP\\bob", "bob@example.org", "Zoë", "日本", "a:b", "~", "x" * 128]
)
def test_a_name_of_any_alphabet_is_taken(name: str) -> None:
    """Unix and directory services know the oddest groups."""
    policy({name: rule(f"group:{name}")}, groups={name: {"members": [f"user:{name}"]}}, users={name: {}})


@pytest.mark.parametrize(
    ("groups", "pointer", "message"),
    [
        ({"a": ["user:x", "group:a"]}, "/groups/a/members/1", "'group:a' is in 'group:a'"),
        (
            {"a": ["group:b"], "b": ["group:a"]},
            "/groups/b/members/0",
            "'group:a' is in 'group:b', which is in 'group:a'",
        ),
        (
            {"b": ["group:a"], "c": ["group:b"], "a": ["uid:1", "group:c"], "d": ["group:a"]},
            "/groups/b/members/0",
            "'group:a' is in 'group:b', which is in 'group:c', which is in 'group:a'",
        ),
    ],
)
def test_groups_in_a_circle_are_refused(groups: dict[str, list[str]], pointer: str, message: str) -> None:
    """The message goes round the circle."""
    content = document(groups={name: {"members": members} for name, members in groups.items()})
    assert refusal(content) == (pointer, "cycle", f"{message}: take one of them out of the next")


def test_users_in_a_circle_are_refused() -> None:
    """A user can be another one's identity, but not the other way round as well."""
    content = document(users={"a": {"identities": ["user:b"]}, "b": {"identities": ["user:a"]}})
    pointer, word, message = refusal(content)
    assert (pointer, word) == ("/users/b/identities/0", "cycle")
    assert message.startswith("'user:a' is in 'user:b', which is in 'user:a'")


def test_a_long_circle_is_told_in_short() -> None:
    """However deep groups nest, the stack holds and the message stays short."""
    groups = {f"{number:05}": {"members": [f"group:{number - 1:05}"]} for number in range(5000)}
    groups["00000"] = {"members": ["group:04999"]}
    pointer, word, message = refusal(document(groups=groups))
    assert (pointer, word) == ("/groups/00001/members/0", "cycle")
    assert ", which is in …, which is in 'group:00000': take" in message
    assert len(message) < 500


def test_groups_may_nest_deeply() -> None:
    """Only circles are refused."""
    groups = {f"{number:05}": {"members": [f"group:{number + 1:05}"]} for number in range(5000)}
    policy(groups=groups)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Each problem has its place and the value there; one doesn't hide the next."""
    bad = rule("bob", actions=["x.y"], resources=["/a"], roles=["none"], conditions={"networks": ["x"], "expires": "x"})
    found = {(one.pointer.removeprefix("/rules/bad"), one.rule, one.value) for one in refusals(document(bad))}
    assert found == {
        ("/subjects/0", "identity", '"bob"'),
        ("/actions/0", "unknown_action", '"x.y"'),
        ("/roles/0", "unknown_role", '"none"'),
        ("/resources/0", "pattern", '"/a"'),
        ("/conditions/networks/0", "condition", '"x"'),
        ("/conditions/expires", "condition", '"x"'),
    }


def test_a_policy_that_is_all_wrong_is_refused_in_time() -> None:
    """The search ends with the hundredth violation, and only the first few are compared with what could be meant."""
    bad = rule(subjects=[f"{'edcba' * 10}{number}" for number in range(1000)])
    for count in (700, 10_000):
        users: Json = {f"{'abcde' * 10}{number}": {} for number in range(count)}
        started = time.perf_counter()
        assert len(refusals(document(bad, users=users))) == MAX_FINDINGS
        assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"rules": {}},
        document(rule("user:root", "uid:0", "*", effect="deny", actions=["access.update"], resources=["access"])),
        {"rules": {"r": {**ROOT, "actions": ["access.read"]}}},
        {"rules": {"r": {**ROOT, "resources": ["namespaces/**"]}}},
        {"rules": {"r": {**ROOT, "conditions": {"networks": ["unix"]}}}},
        {"rules": {"r": {**ROOT, "effect": "deny"}}},
        {"rules": {"r": {**ROOT, "subjects": ["group:administrators"]}}},
        {"rules": {"r": {**ROOT, "subjects": ["group:a"]}}, "groups": {"a": {"members": ["group:undeclared"]}}},
        {"rules": {"r": {**ROOT, "subjects": ["user:bob"]}}, "users": {"bob": {"disabled": True}}},
        {
            "rules": {"r": {**ROOT, "subjects": ["uid:7"]}},
            "users": {"bob": {"disabled": True, "identities": ["uid:7"]}},
        },
        document(
            rule("group:all", effect="deny", actions=["*"], resources=["**"]), groups={"all": {"members": ["uid:0"]}}
        ),
        document({**ROOT, "effect": "deny", "conditions": {"expires": "2020-01-01T00:00:00Z"}}),
        document({**ROOT, "effect": "deny", "subjects": ["*"], "conditions": {"networks": ["192.0.2.0/24"]}}),
    ],
)
def test_a_policy_that_nobody_could_change_is_refused(content: Json) -> None:
    """Somebody whom the policy names must surely be allowed to change it, at any time and from anywhere."""
    pointer, word, message = refusal(content)
    assert (pointer, word) == ("", "lockout")
    assert "let a rule without conditions allow access.update on 'access'" in message


@pytest.mark.parametrize(
    "content",
    [
        document(),
        {"rules": {"r": {**ROOT, "subjects": ["*"]}}},
        {"rules": {"r": {**ROOT, "subjects": ["spiffe://example.org/admin"]}}},
        {
            "rules": {"r": {**ROOT, "subjects": ["group:a"]}},
            "groups": {"a": {"members": ["group:b"]}, "b": {"members": ["uid:7"]}},
        },
        {"rules": {"r": {**ROOT, "subjects": ["user:bob"]}}, "users": {"bob": {"identities": ["uid:7"]}}},
        {"rules": {"r": {**ROOT, "conditions": {}, "actions": ["access.*"], "resources": ["acc*"]}}},
        document({**ROOT, "effect": "deny", "subjects": ["*"], "resources": ["namespaces/**"]}),
        document({**ROOT, "effect": "deny", "subjects": ["*"], "actions": ["secrets.*"]}),
        document({**ROOT, "effect": "deny", "subjects": ["user:bob", "group:contractors"]}),
        {"rules": {"r": {**ROOT, "subjects": ["*"]}, "no": {**ROOT, "effect": "deny"}}},
    ],
)
def test_a_policy_that_somebody_can_change_is_taken(content: Json) -> None:
    """One administrator is enough."""
    compile_policy(content, actions=ACTIONS)


def test_a_refused_policy_says_so_in_a_sentence() -> None:
    """The error's text is what logs show."""
    with pytest.raises(SourceInvalid, match=r"at /rules/bad/actions/0: there is no action 'x': .* \(unknown_action\)"):
        compile_policy(document(rule(actions=["x"])), actions=ACTIONS)


def test_a_rule_that_is_about_nothing_is_refused() -> None:
    """A mistyped resource in a rule that denies would be an open door; the message says what it may have been meant to be."""
    catalogue = {"access.update": ("access",), "secrets.access": ("namespaces/*/secrets/*",)}
    mistyped = document(rule(effect="deny", resources=["namespaces/billing/secret/*", "namespaces/a/config", "access"]))
    with pytest.raises(SourceInvalid) as caught:
        compile_policy(mistyped, actions=catalogue)
    assert [(one.pointer, one.rule) for one in caught.value.violations] == [
        (f"/rules/bad/resources/{index}", "pattern") for index in range(3)
    ]
    assert "did you mean 'namespaces/*/secrets/*'?" in caught.value.violations[0].message
    assert "asked of namespaces/*/secrets/*" in caught.value.violations[2].message
    both = rule(actions=["secrets.access", "access.update"], resources=["namespaces/**", "access"])
    compile_policy(document(both), actions=catalogue)
