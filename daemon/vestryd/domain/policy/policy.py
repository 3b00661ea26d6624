"""The access policy: who may do what. Nothing is allowed unless a rule allows it, and a rule that denies wins.

A policy is compiled once from its document and then only asked: it has no state, reads no clock and opens no file, so the
same question has the same answer on every daemon that has the same document.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from vestryd.domain.errors import SourceInvalid
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, SCHEMES, Caller
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.actions import Actions, Catalogue
from vestryd.domain.policy.decision import Decision, Explanation
from vestryd.domain.policy.explanation import Explainer
from vestryd.domain.policy.findings import Findings
from vestryd.domain.policy.rights import Rights
from vestryd.domain.policy.rules import RuleIndex, parse_rules
from vestryd.domain.policy.schema import POLICY_SCHEMA
from vestryd.domain.policy.subjects import EVERYBODY, GROUP, Subjects, parse_subjects

UPDATE = "access.update"  # the action that changes the policy …
ACCESS = "access"  # … which is this resource
MAX_CALLERS = 4096  # whose rights are kept at hand

# In force while there is no access document. The group's name is one that no unix group has by accident.
BUILT_IN: Json = {
    "groups": {"vestry-administrators": {"members": [LOCAL_ADMINISTRATOR]}},
    "rules": {"administrators": {"subjects": ["group:vestry-administrators"], "actions": ["*"], "resources": ["**"]}},
}


def compile_policy(document: Json, *, actions: Catalogue) -> Policy:
    """Return the policy that `document` describes, where `actions` are all that there are, `access.update` among them.

    Raises SourceInvalid: with the schema's violations if the shape is wrong, else with all that its texts get wrong, else
    with the rule `lockout` when nobody could change the policy any more. That is judged with care: who could must be an
    identity that the policy names (or be everybody), enabled, allowed by a rule without conditions, and denied by none, be
    it with conditions. A group that only credentials assert counts for nothing there, whether allowed or denied.
    """
    violations = POLICY_SCHEMA.violations(document)
    if violations:
        raise SourceInvalid(violations)
    findings = Findings()
    known = Actions(actions, document.get("roles", {}), findings)
    subjects = parse_subjects(document.get("users", {}), document.get("groups", {}), findings)
    index = RuleIndex(parse_rules(document.get("rules", {}), known, subjects, findings))
    findings.raise_any()
    if not _can_be_changed(index, subjects):
        message = (
            f"nobody could change this policy any more: let a rule without conditions allow {UPDATE} on '{ACCESS}' to an "
            f"identity such as {LOCAL_ADMINISTRATOR}, by itself or in a declared group, and no rule deny it"
        )
        findings.add((), "lockout", message)
    findings.raise_any()
    return Policy(index, subjects)


class Policy:
    """A policy, compiled. Immutable; replaced by the next one."""

    def __init__(self, index: RuleIndex, subjects: Subjects) -> None:
        self._index = index
        self._subjects = subjects
        self._cached_rights = lru_cache(MAX_CALLERS)(self._rights_of)
        self._no_rights = Rights(index, 0, "a caller who is not known may do nothing: call with credentials")

    def rights(self, caller: Caller) -> Rights:
        """Return what a caller may do; they are kept at hand for the callers of late."""
        if not caller.is_known:
            return self._no_rights
        return self._cached_rights(caller.identities, caller.groups)

    def check(self, caller: Caller, action: str, resource: str, now: datetime) -> Decision:
        """Tell whether `caller` may do `action` to `resource` at `now`, which has a time zone."""
        return self.rights(caller).decide(action, resource, now=now, address=caller.address)

    def explain(self, caller: Caller, action: str, resource: str, now: datetime) -> Explanation:
        """Tell why `check` decides as it does. Slow: it looks at every rule."""
        rights = self.rights(caller)
        decision = rights.decide(action, resource, now=now, address=caller.address)
        if rights.problem:
            return Explanation(decision, f"denied: {rights.problem}")
        return Explainer(self._index, self._subjects_of(caller), caller, action, resource, now).explain(decision)

    def identities(self, caller: Caller) -> tuple[str, ...]:
        """Return the identities that the policy knows a caller by, its users among them, sorted."""
        return tuple(sorted(one for one in self._subjects_of(caller) if one.startswith(SCHEMES)))

    def groups(self, caller: Caller) -> tuple[str, ...]:
        """Return the groups that a caller is in, by the policy or by its credential, without a scheme, sorted."""
        subjects = self._subjects_of(caller)
        return tuple(sorted(one.removeprefix(GROUP) for one in subjects if one.startswith(GROUP)))

    def _subjects_of(self, caller: Caller) -> dict[str, str]:
        return self._subjects.of(caller.identities, caller.groups)

    def _rights_of(self, identities: frozenset[str], groups: frozenset[str]) -> Rights:
        subjects = self._subjects.of(identities, groups)
        disabled = sorted(self._subjects.disabled.intersection(subjects))
        if disabled:
            return Rights(self._index, 0, f"{disabled[0]} is disabled")
        return Rights(self._index, self._index.about([*subjects, EVERYBODY]))


def _can_be_changed(index: RuleIndex, subjects: Subjects) -> bool:
    rules = index.by_action.get(UPDATE, 0) & index.resources.match(ACCESS)
    denied = index.subjects_of(rules & index.denying)
    allowed = index.subjects_of(rules & ~index.denying & ~index.conditional)
    if EVERYBODY in denied or EVERYBODY in allowed:
        return EVERYBODY not in denied
    return subjects.has_administrator(allowed, denied)
