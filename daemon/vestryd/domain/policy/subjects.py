"""Subjects: the names that a policy has for callers, and which of them a caller answers to.

An identity is a name with a scheme, as `identity.Caller` has them. A user of the policy gathers identities under one more,
`user:NAME`; a group, `group:NAME`, gathers identities and groups. `*` is every known caller.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from vestryd.domain.faults import shown
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, SCHEMES
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.findings import Findings, Path, check_names, name_problem, text_problem

EVERYBODY = "*"
USER = "user:"
GROUP = "group:"
MAX_IDENTITY = 2048  # characters; a SPIFFE ID may have as many (SPIFFE-ID, section 2.3)

_MAX_CYCLE_SHOWN = 10  # groups
_UID = re.compile(r"0|[1-9][0-9]{0,9}")
# What the daemon knows a call of root over the local socket by.
_ROOT = frozenset({LOCAL_ADMINISTRATOR, "uid:0", "user:root"})


def identity_problem(identity: str) -> str:
    """Return why no caller can have `identity`, and what to write; empty when one can."""
    scheme = next((scheme for scheme in SCHEMES if identity.startswith(scheme)), "")
    if not scheme:
        return f"it has no scheme: write {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]} before it"
    rest = identity.removeprefix(scheme)
    if scheme == USER:
        return name_problem(rest)
    if scheme == "uid:" and not _UID.fullmatch(rest):
        return "a user id is a number without leading zeros, as in uid:1000"
    if scheme == "local:" and identity != LOCAL_ADMINISTRATOR:
        return f"the daemon knows {LOCAL_ADMINISTRATOR} alone"
    return text_problem(rest, longest=MAX_IDENTITY)


def subject_problem(subject: str) -> str:
    """Return why `subject` can be neither `*`, nor a group, nor an identity; empty when it can."""
    if subject == EVERYBODY:
        return ""
    if subject.startswith(GROUP):
        return name_problem(subject.removeprefix(GROUP))
    problem = identity_problem(subject)
    if problem and ":" not in subject:
        return f"{problem}, '{GROUP}' before a group, or '{EVERYBODY}' for every known caller"
    return problem


@dataclass(frozen=True, slots=True)
class Subjects:
    """The users and groups of a policy.

    Groups need not be declared: those that only credentials assert have no members here. No group is in itself, however
    far around.
    """

    members: Mapping[str, tuple[str, ...]]  # `user:NAME` or `group:NAME` -> what the policy says is, or is in, it
    above: Mapping[str, tuple[str, ...]]  # a subject -> the users that it is, and the groups that it is in
    disabled: frozenset[str]  # of users, `user:NAME`

    def check(self, subjects: list[str], path: Path, findings: Findings) -> None:
        """Find fault with the subjects of a rule."""
        _check_each(subjects, subject_problem, [LOCAL_ADMINISTRATOR, *self.members], path, findings)

    def of(self, identities: Iterable[str], groups: Iterable[str]) -> dict[str, str]:
        """Return the subjects that a known caller answers to, but for `*`: subject -> the one that leads to it, or nothing.

        The shortest way to each is kept, so that an explanation is short, and always the same one.
        """
        named = (identity for identity in identities if identity.startswith(SCHEMES))  # a group must not pass for one
        return _reached([*sorted(named), *sorted(f"{GROUP}{group}" for group in groups)], self.above)

    def has_administrator(self, allowed: Iterable[str], denied: Iterable[str]) -> bool:
        """Tell whether the policy puts an identity among `allowed` subjects, and not among `denied` or disabled ones.

        Each identity stands for a caller with it alone; the local administrator may be root, and is denied what root is.
        """
        refused = set(_reached([*denied, *self.disabled], self.members))
        identities = (subject for subject in _reached(allowed, self.members) if subject.startswith(SCHEMES))
        return any(refused.isdisjoint(_ROOT if one == LOCAL_ADMINISTRATOR else [one]) for one in identities)


def parse_subjects(users: Json, groups: Json, findings: Findings) -> Subjects:
    """Return the users and groups of a document of the shape that the schema gives it."""
    check_names(users, "users", findings)
    check_names(groups, "groups", findings)
    known = [LOCAL_ADMINISTRATOR, *(f"{USER}{name}" for name in users), *(f"{GROUP}{name}" for name in groups)]
    members = {}
    for name, user in users.items():
        identities = user.get("identities", [])
        _check_each(identities, identity_problem, known, ("users", name, "identities"), findings)
        user_subject = f"{USER}{name}"
        members[user_subject] = tuple(one for one in identities if one != user_subject)
    for name, group in groups.items():
        _check_each(group["members"], _member_problem, known, ("groups", name, "members"), findings)
        members[f"{GROUP}{name}"] = tuple(group["members"])
    _check_cycles(members, findings)
    disabled = frozenset(f"{USER}{name}" for name, user in users.items() if user.get("disabled", False))
    return Subjects(members, _turned(members), disabled)


def _check_each(
    texts: list[str], problem_of: Callable[[str], str], known: Iterable[str], path: Path, findings: Findings
) -> None:
    for index, text in enumerate(texts):
        problem = problem_of(text)
        if problem:
            hint = findings.suggestion(text, known)
            findings.add((*path, index), "identity", f"{shown(text)} names nobody: {problem}{hint}", text)


def _member_problem(member: str) -> str:
    if member == EVERYBODY:
        return f"'{EVERYBODY}' can't be in a group: name it as a subject of the rule"
    return subject_problem(member)


def _check_cycles(members: Mapping[str, tuple[str, ...]], findings: Findings) -> None:
    try:
        TopologicalSorter(members).prepare()
    except CycleError as error:
        cycle = error.args[1][:-1]  # each is in the next, and the last in the first
        start = cycle.index(min(cycle))
        first, *others = cycle[start:] + cycle[:start]
        holder = (others or [first])[0]
        section, field = ("users", "identities") if holder.startswith(USER) else ("groups", "members")
        path = (section, holder.partition(":")[2], field, members[holder].index(first))
        omitted = ["…"] if len(others) > _MAX_CYCLE_SHOWN else []
        ways = ", which is in ".join([*map(shown, others[:_MAX_CYCLE_SHOWN]), *omitted, shown(first)])
        findings.add(path, "cycle", f"{shown(first)} is in {ways}: take one of them out of the next", first)


def _turned(members: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    above: dict[str, list[str]] = {}
    for holder, inside in members.items():
        for member in inside:
            above.setdefault(member, []).append(holder)
    return {member: tuple(sorted(holders)) for member, holders in above.items()}


def _reached(starts: Iterable[str], steps: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return what can be reached, breadth first: each -> the one it was reached from, or nothing for a start."""
    reached = dict.fromkeys(starts, "")
    waiting = deque(reached)
    while waiting:
        here = waiting.popleft()
        for there in steps.get(here, ()):
            if there not in reached:
                reached[there] = here
                waiting.append(there)
    return reached
