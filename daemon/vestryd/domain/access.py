"""The door: may this caller do that? The policy in force decides, and every refusal is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from vestryd.domain.clock import Clock
from vestryd.domain.documents import Documents, Kind
from vestryd.domain.errors import CredentialsMissing, PermissionDenied, in_short
from vestryd.domain.identity import Caller
from vestryd.domain.policy.actions import Catalogue
from vestryd.domain.policy.decision import Decision, Explanation
from vestryd.domain.policy.policy import BUILT_IN, Policy, compile_policy
from vestryd.domain.policy.schema import POLICY_SCHEMA

KIND = "access"
NAME = "policy"  # of the one document
RESOURCE = "access"


class Guard(Protocol):
    """What stands at a door."""

    def require(self, caller: Caller, action: str, resource: str) -> None:
        """Return if `caller` may. Raises CredentialsMissing, PermissionDenied."""


def access_kind(actions: Catalogue) -> Kind:
    """Return the document kind of the policy, which may speak of `actions` alone."""
    return Kind(KIND, lambda _name, document: compile_policy(document, actions=actions), POLICY_SCHEMA, BUILT_IN)


class Access:
    """The policy in force, for as long as the daemon lives. `on_denied` hears of each refusal; it may not wait or raise."""

    def __init__(self, documents: Documents, clock: Clock, actions: Catalogue) -> None:
        self.on_denied: Callable[[Caller, str, str], None] = lambda _caller, _action, _resource: None
        self._documents = documents
        self._clock = clock
        self._built_in = compile_policy(BUILT_IN, actions=actions)

    @property
    def policy(self) -> Policy:
        """The policy in force: the built-in one while there is no other, or none that this release understands."""
        document = self._documents.find(KIND, NAME)
        return self._built_in if document is None or document.broken else document.compiled

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the policy in the store."""
        document = self._documents.find(KIND, NAME)
        if document and document.broken:
            what = f"version {document.version.number} of the policy"
            yield (
                f"{what} can't be used by this release: {in_short(document.broken)}. "
                "Until it is corrected, the built-in policy is in force: local administrators may do everything, nobody "
                "else may do anything"
            )

    def check(self, caller: Caller, action: str, resource: str) -> Decision:
        """Tell whether `caller` may do `action` to `resource` now. Nobody hears of it."""
        return self.policy.check(caller, action, resource, self._clock.now())

    def explain(self, caller: Caller, action: str, resource: str) -> Explanation:
        """Tell why `check` decides as it does."""
        return self.policy.explain(caller, action, resource, self._clock.now())

    def require(self, caller: Caller, action: str, resource: str) -> None:
        """Return if `caller` may do `action` to `resource`. Raises CredentialsMissing, PermissionDenied."""
        if not caller.is_known:
            raise CredentialsMissing
        decision = self.check(caller, action, resource)
        if not decision.is_allowed:
            self.on_denied(caller, action, resource)
            raise PermissionDenied(caller.name, action, resource, decision.problem)
