"""What a policy answers: a decision, and the story behind one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vestryd.domain.faults import shown


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call is allowed. `rule` names the rule that decided, if one did; `problem` says why it is not allowed."""

    is_allowed: bool
    rule: str = ""
    problem: str = ""


class Lack(StrEnum):
    """What keeps a rule from allowing a call, the easiest to mend first."""

    CONDITION = "condition"
    ACTION = "action"
    RESOURCE = "resource"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a call is allowed or not; `sentence` tells it to a person.

    `chain` leads from a name of the caller to the subject of the rule that decided, each being, or being in, the next; it
    is `*` alone for a rule about everybody. `nearest` is the rule that lacks least to allow what no rule does, and `lacks`
    what it lacks. `unmet` has the rules that would have counted but for their conditions.
    """

    decision: Decision
    sentence: str
    chain: tuple[str, ...] = ()
    nearest: str = ""
    lacks: tuple[Lack, ...] = ()
    unmet: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # rule -> what its failed conditions demand


def legible(text: str) -> str:
    """Return a text of the caller's as it stands in a sentence, quoted if it could do harm to a terminal or a log."""
    return text if text.isprintable() else shown(text)
