"""Explanations: why a call is allowed or not, and which rule comes nearest to allowing it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from vestryd.domain.identity import Caller
from vestryd.domain.policy.decision import Decision, Explanation, Lack, legible
from vestryd.domain.policy.rules import Effect, Rule, RuleIndex
from vestryd.domain.policy.subjects import EVERYBODY, GROUP, USER

_MAX_LISTED = 3  # actions, resources or subjects in a sentence
_LACKS = tuple(Lack)
_STRANGE = {Lack.ACTION, Lack.RESOURCE, Lack.SUBJECT}  # a rule that lacks all of these has nothing to do with a call


class Explainer:
    """Explains decisions about one call, with every rule of a policy in view."""

    def __init__(
        self, index: RuleIndex, subjects: Mapping[str, str], caller: Caller, action: str, resource: str, now: datetime
    ) -> None:
        """Look at a call; `subjects` are the caller's: subject -> the one that leads to it, or nothing."""
        self._index = index
        self._subjects = subjects
        self._call = f"{action} on {legible(resource)} to {legible(caller.name)}"
        self._caller = caller.name
        self._action = action
        self._resource = resource
        by_action = index.by_action.get(action, 0)
        by_resource = index.resources.match(resource)
        by_subject = index.about([*subjects, EVERYBODY])
        self._about = {  # which part of the call -> the rules that are about it
            Lack.ACTION: _names(index.of(by_action)),
            Lack.RESOURCE: _names(index.of(by_resource)),
            Lack.SUBJECT: _names(index.of(by_subject)),
        }
        # rule -> what its failed conditions demand
        self._demands = {rule.name: unmet for rule in index.rules if (unmet := rule.unmet(now, caller.address))}
        matching = _names(index.of(by_action & by_resource & by_subject))
        self._unmet = {name: demands for name, demands in self._demands.items() if name in matching}

    def explain(self, decision: Decision) -> Explanation:
        """Return why the call was decided so."""
        rule = next((one for one in self._index.rules if one.name == decision.rule), None)
        if rule is None:
            return self._explain_default(decision)
        chain = self._chain(rule)
        told = f"rule {rule.name!r} {_verb(rule)} {self._call} ({self._tell(chain)})"
        sentence = f"allowed: {told}{self._spared()}" if decision.is_allowed else f"denied: {told}"
        return Explanation(decision, sentence, chain=chain, unmet=self._unmet)

    def _explain_default(self, decision: Decision) -> Explanation:
        sentence = f"denied: no rule allows {self._call}"
        found = [(self._lacks(rule), rule) for rule in self._index.rules if rule.effect is Effect.ALLOW]
        near = [(lacks, rule) for lacks, rule in found if not _STRANGE.issubset(lacks)]
        if not near:
            return Explanation(decision, sentence, unmet=self._unmet)
        lacks, rule = min(near, key=lambda one: self._distance(*one))
        sentence += f"; nearest {self._offer(rule, lacks)}"
        return Explanation(decision, sentence, nearest=rule.name, lacks=lacks, unmet=self._unmet)

    def _spared(self) -> str:
        """Return what is to be said of a rule that would deny the call, did its conditions hold."""
        rule = next((one for one in self._index.rules if one.effect is Effect.DENY and one.name in self._unmet), None)
        return f"; rule {rule.name!r} denies it, {_counts(self._unmet[rule.name])}" if rule else ""

    def _lacks(self, rule: Rule) -> tuple[Lack, ...]:
        lacks = {part for part, names in self._about.items() if rule.name not in names}
        if rule.name in self._demands:
            lacks.add(Lack.CONDITION)
        return tuple(lack for lack in _LACKS if lack in lacks)

    def _distance(self, lacks: tuple[Lack, ...], rule: Rule) -> tuple[object, ...]:
        """Return what sorts the nearest rule first: the fewest lacks, the easiest to mend, the likest rule, the first."""
        likeness = max(_common_segments(pattern, self._resource) for pattern in rule.resources)
        ease = [_LACKS.index(lack) for lack in lacks]
        return len(lacks), ease, not self._same_noun(rule.patterns), -likeness, rule.name

    def _offer(self, rule: Rule, lacks: tuple[Lack, ...]) -> str:
        """Return what a rule allows, where that differs from the call."""
        what, where, whom = "it", "", ""
        if Lack.ACTION in lacks:
            what, where = _listed(sorted(rule.patterns, key=lambda one: not self._same_noun([one]))), " on it"
        if Lack.RESOURCE in lacks:
            where = f" on {_listed(rule.resources)}"
        if Lack.SUBJECT in lacks:
            whom = f" to {_listed(rule.subjects)}"
        but = f", {_counts(self._demands[rule.name])}" if Lack.CONDITION in lacks else ""
        return f"rule {rule.name!r} allows {what}{where}{whom}{but}"

    def _same_noun(self, patterns: Collection[str]) -> bool:
        noun = self._action.partition(".")[0]
        return any(pattern.partition(".")[0] == noun for pattern in patterns)

    def _chain(self, rule: Rule) -> tuple[str, ...]:
        """Return the shortest way from a name of the caller to a subject of the rule."""
        ways = [self._way(subject) for subject in rule.subjects if subject in self._subjects]
        return min(ways, key=len, default=(EVERYBODY,))

    def _way(self, subject: str) -> tuple[str, ...]:
        way = [subject]
        while before := self._subjects[way[-1]]:
            way.append(before)
        return tuple(reversed(way))

    def _tell(self, chain: tuple[str, ...]) -> str:
        first, *others = chain
        if first == EVERYBODY:
            return "it is about every known caller"
        links = [f"{'is' if one.startswith(USER) else 'is in'} {one}" for one in others]
        if first.startswith(GROUP):
            links.insert(0, f"is in {first} by its credential")
        elif first != self._caller:
            links.insert(0, f"is also {first}")
        return f"{legible(self._caller)} {', which '.join(links)}" if links else f"it names {first}"


def _names(rules: Iterable[Rule]) -> frozenset[str]:
    return frozenset(rule.name for rule in rules)


def _verb(rule: Rule) -> str:
    return "allows" if rule.effect is Effect.ALLOW else "denies"


def _counts(demands: tuple[str, ...]) -> str:
    return f"but counts {' and '.join(demands)}"


def _listed(texts: Sequence[str]) -> str:
    if len(texts) > _MAX_LISTED:
        return f"{', '.join(texts[:_MAX_LISTED])} and {len(texts) - _MAX_LISTED} more"
    *before, last = texts
    return f"{', '.join(before)} and {last}" if before else last


def _common_segments(pattern: str, resource: str) -> int:
    count = 0
    for one, other in zip(pattern.split("/"), resource.split("/"), strict=False):
        if one not in {other, "*"}:
            break
        count += 1
    return count
