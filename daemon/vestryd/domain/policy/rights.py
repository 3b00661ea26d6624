"""Rights: what one caller may do, ready to be asked."""

from __future__ import annotations

from datetime import datetime

from vestryd.domain.identity import Address
from vestryd.domain.policy.decision import Decision, legible
from vestryd.domain.policy.rules import Rule, RuleIndex


class Rights:
    """What a caller may do under one policy: nothing, unless a rule allows it and none denies it.

    They hold as long as the policy is in force. They know no time: conditions are asked at each decision.
    """

    __slots__ = ("_index", "_rules", "problem")

    def __init__(self, index: RuleIndex, rules: int, problem: str = "") -> None:
        """Hold the set `rules` of `index`, those about the caller: none for one who may do nothing, because of `problem`."""
        self._index = index
        self._rules = rules
        self.problem = problem

    def decide(self, action: str, resource: str, *, now: datetime, address: Address | None) -> Decision:
        """Tell whether the caller may do `action` to `resource`.

        `now` has a time zone; `address` is None on a unix socket.
        """
        index = self._index
        rules = self._rules & index.by_action.get(action, 0)
        if rules:
            rules &= index.resources.match(resource)
        denying = rules & index.denying
        if denying:
            rule = self._one_that_counts(denying, now, address)
            if rule is not None:
                return Decision(
                    is_allowed=False,
                    rule=rule.name,
                    problem=f"rule {rule.name!r} denies {action} on {legible(resource)}",
                )
        allowing = rules ^ denying
        if allowing:
            rule = self._one_that_counts(allowing, now, address)
            if rule is not None:
                return rule.allowed
        return Decision(is_allowed=False, problem=self.problem or f"no rule allows {action} on {legible(resource)}")

    def _one_that_counts(self, rules: int, now: datetime, address: Address | None) -> Rule | None:
        """Return the first rule that counts, by name; those without conditions come first, as they are quickly had."""
        index = self._index
        unconditional = rules & ~index.conditional
        if unconditional:
            return index.first(unconditional)
        for rule in index.of(rules):
            if rule.counts(now, address):
                return rule
        return None
