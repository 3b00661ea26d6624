"""The rules of a policy: one by one, and as an index that finds those for a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vestryd.domain.faults import shown
from vestryd.domain.identity import Address
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.actions import MAX_SHAPES_TOLD, Actions
from vestryd.domain.policy.conditions import Condition, parse_conditions
from vestryd.domain.policy.decision import Decision
from vestryd.domain.policy.findings import Findings, Path, check_names
from vestryd.domain.policy.resources import ResourceTrie, pattern_problem
from vestryd.domain.policy.subjects import Subjects


class Effect(StrEnum):
    """What a rule does to a call that it is about."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `patterns` are its actions and those of its roles as written, `actions` what they stand for."""

    name: str
    effect: Effect
    subjects: tuple[str, ...]
    patterns: tuple[str, ...]
    actions: frozenset[str]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]
    allowed: Decision  # its answer when it allows: made once, as most answers are this one

    def counts(self, now: datetime, address: Address | None) -> bool:
        """Tell whether all its conditions hold."""
        return all(condition.holds(now, address) for condition in self.conditions)

    def unmet(self, now: datetime, address: Address | None) -> tuple[str, ...]:
        """Return what the conditions that don't hold demand."""
        return tuple(condition.demand for condition in self.conditions if not condition.holds(now, address))


def parse_rules(rules: Json, actions: Actions, subjects: Subjects, findings: Findings) -> tuple[Rule, ...]:
    """Return the rules of a document of the shape that the schema gives it, sorted by name."""
    check_names(rules, "rules", findings)
    return tuple(_parse_rule(name, rules[name], actions, subjects, findings) for name in sorted(rules))


def _parse_rule(name: str, rule: Json, actions: Actions, subjects: Subjects, findings: Findings) -> Rule:
    path: Path = ("rules", name)
    subjects.check(rule["subjects"], (*path, "subjects"), findings)
    patterns = actions.patterns(rule, path, findings)
    expanded = actions.expand(patterns)
    for index, pattern in enumerate(rule["resources"]):
        problem = pattern_problem(pattern) or _what_it_misses(pattern, actions.missed_by(pattern, expanded), findings)
        if problem:
            message = f"the resource pattern {shown(pattern)} can't be used: {problem}"
            findings.add((*path, "resources", index), "pattern", message, pattern)
    return Rule(
        name=name,
        effect=Effect(rule.get("effect", Effect.ALLOW)),
        subjects=tuple(rule["subjects"]),
        patterns=patterns,
        actions=expanded,
        resources=tuple(rule["resources"]),
        conditions=parse_conditions(rule.get("conditions", {}), (*path, "conditions"), findings),
        allowed=Decision(is_allowed=True, rule=name),
    )


def _what_it_misses(pattern: str, shapes: Sequence[str], findings: Findings) -> str:
    """Say what a pattern should be about that no resource of the rule's actions can match; nothing when there are none."""
    if not shapes:
        return ""
    told = ", ".join(shapes[:MAX_SHAPES_TOLD]) + (", …" if len(shapes) > MAX_SHAPES_TOLD else "")
    hint = findings.suggestion(pattern, shapes) or f": they are asked of {told}"
    return f"it matches nothing that the rule's actions are asked of{hint}"


class RuleIndex:
    """The rules by whom, what and where they are about.

    A set of rules is an int with a bit for each, so that a call's rules are found with two `&`, whatever their number.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.by_action: dict[str, int] = {}  # action -> rules
        self.resources = ResourceTrie()
        self.denying = 0
        self.conditional = 0
        self._by_subject: dict[str, int] = {}  # subject -> rules
        for number, rule in enumerate(rules):
            self._add(rule, 1 << number)

    def about(self, subjects: Iterable[str]) -> int:
        """Return the rules that name one of `subjects`."""
        rules = 0
        for subject in subjects:
            rules |= self._by_subject.get(subject, 0)
        return rules

    def subjects_of(self, rules: int) -> frozenset[str]:
        """Return the subjects that the rules of a set name."""
        return frozenset(subject for rule in self.of(rules) for subject in rule.subjects)

    def first(self, rules: int) -> Rule:
        """Return the first rule, by name, of a set that has some."""
        return self.rules[(rules & -rules).bit_length() - 1]

    def of(self, rules: int) -> Iterator[Rule]:
        """Yield the rules of a set, by name."""
        while rules:
            yield self.first(rules)
            rules &= rules - 1

    def _add(self, rule: Rule, bit: int) -> None:
        for subject in rule.subjects:
            _join(self._by_subject, subject, bit)
        for action in rule.actions:
            _join(self.by_action, action, bit)
        for pattern in rule.resources:
            self.resources.add(pattern, bit)
        if rule.effect is Effect.DENY:
            self.denying |= bit
        if rule.conditions:
            self.conditional |= bit


def _join(sets: dict[str, int], key: str, bit: int) -> None:
    sets[key] = sets.get(key, 0) | bit
