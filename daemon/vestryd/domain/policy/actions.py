"""Actions, as rules and roles name them: `secrets.get`, `secrets.*` for a noun, `*` for all; and what they are about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from vestryd.domain.faults import shown
from vestryd.domain.jsonvalue import Json
from vestryd.domain.policy.findings import Findings, Path, check_names
from vestryd.domain.policy.resources import can_meet

Catalogue = Mapping[str, Collection[str]]  # action -> the shapes of the resources that it is asked of
MAX_SHAPES_TOLD = 3


class Actions:
    """The actions that there are, and the roles that a policy makes of them."""

    def __init__(self, catalogue: Catalogue, roles: Mapping[str, Json], findings: Findings) -> None:
        self._catalogue = catalogue
        known = frozenset(catalogue)
        # pattern -> the actions that it stands for
        self._meanings: dict[str, frozenset[str]] = {action: frozenset({action}) for action in known}
        for noun in {action.partition(".")[0] for action in known}:
            self._meanings[f"{noun}.*"] = frozenset(one for one in known if one.startswith(f"{noun}."))
        self._meanings["*"] = known
        check_names(roles, "roles", findings)
        for name, role in roles.items():
            self._check(role["actions"], ("roles", name, "actions"), findings)
        # role -> its patterns
        self._roles = {name: tuple(dict.fromkeys(role["actions"])) for name, role in roles.items()}

    def patterns(self, rule: Json, path: Path, findings: Findings) -> tuple[str, ...]:
        """Return the patterns that a rule names, by itself and through its roles."""
        if "actions" not in rule and "roles" not in rule:
            findings.add(path, "required", "the rule allows or denies nothing: give it 'actions', 'roles' or both")
        own = rule.get("actions", [])
        self._check(own, (*path, "actions"), findings)
        patterns = list(own)
        for index, role in enumerate(rule.get("roles", [])):
            if role in self._roles:
                patterns += self._roles[role]
            else:
                hint = findings.suggestion(role, self._roles) or ": declare it in /roles"
                findings.add((*path, "roles", index), "unknown_role", f"there is no role {shown(role)}{hint}", role)
        return tuple(dict.fromkeys(patterns))

    def expand(self, patterns: tuple[str, ...]) -> frozenset[str]:
        """Return the actions that `patterns` stand for; unknown patterns stand for none."""
        return frozenset().union(*(self._meanings.get(pattern, ()) for pattern in patterns))

    def missed_by(self, pattern: str, actions: Iterable[str]) -> list[str]:
        """Return what `actions` are asked of when no such resource can match `pattern`; nothing when one can."""
        shapes = sorted({shape for action in actions for shape in self._catalogue[action]})
        return [] if any(can_meet(pattern, shape) for shape in shapes) else shapes

    def _check(self, patterns: list[str], path: Path, findings: Findings) -> None:
        for index, pattern in enumerate(patterns):
            if pattern not in self._meanings:
                hint = (
                    findings.suggestion(pattern, self._meanings) or ": name one as 'noun.verb', or use 'noun.*' or '*'"
                )
                findings.add((*path, index), "unknown_action", f"there is no action {shown(pattern)}{hint}", pattern)
