"""Policies and their callers, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.actions import Catalogue
from vestryd.domain.policy.policy import Policy, compile_policy

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
PASSWORD = "namespaces/billing/secrets/db-password"
# Asked of anything: what a resource may be is the business of a test of its own.
ACTIONS: Catalogue = dict.fromkeys(
    (
        "access.read",
        "access.update",
        "config.read",
        "config.update",
        "config.watch",
        "secrets.access",
        "secrets.get",
        "secrets.put",
    ),
    ("**",),
)
ROOT: Json = {"subjects": [LOCAL_ADMINISTRATOR], "actions": ["*"], "resources": ["**"]}


def caller(name: str = "user:bob", *others: str, groups: tuple[str, ...] = (), address: str = "") -> Caller:
    """Return a known caller; without an address it is on the unix socket."""
    where = ip_address(address) if address else None
    return Caller(name, Via.TOKEN, frozenset({name, *others}), frozenset(groups), address=where)


def rule(*subjects: str, **members: Any) -> Json:
    """Return a rule that allows the subjects (everybody) to access the database's password, but for what is said."""
    whom = list(subjects) or ["*"]
    return {"subjects": whom, "actions": ["secrets.access"], "resources": [PASSWORD], **members}


def policy(rules: Json | None = None, **sections: Json) -> Policy:
    """Return a policy with these rules, and one more that lets root administer it."""
    document = {"rules": {"root": ROOT, **(rules or {})}, **sections}
    return compile_policy(document, actions=ACTIONS)


def allows(policy: Policy, who: Caller | None = None, action: str = "secrets.access", resource: str = PASSWORD) -> bool:
    """Tell whether the caller (user:bob) may do that now."""
    return policy.check(who or caller(), action, resource, NOW).is_allowed


def refusals(document: Json) -> list[Violation]:
    """Return what is wrong with a document."""
    with pytest.raises(SourceInvalid) as caught:
        compile_policy(document, actions=ACTIONS)
    return list(caught.value.violations)


def refusal(document: Json) -> tuple[str, str, str]:
    """Return the pointer, rule and message of the one thing that is wrong with a document."""
    (violation,) = refusals(document)
    return violation.pointer, violation.rule, violation.message
