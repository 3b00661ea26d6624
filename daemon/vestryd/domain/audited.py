"""What must be in the audit log before it is done: no record, no deed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from vestry.audit_record import Fact, Outcome
from vestryd.domain.audit import AuditLog, Entry
from vestryd.domain.errors import AuditUnavailable, VestryError
from vestryd.domain.identity import Caller


@dataclass(frozen=True, slots=True)
class Act:
    """Who does what to what. `call_id` is the id that the daemon's log gives to the call, empty when there is none."""

    actor: str
    action: str
    resource: str
    call_id: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def entry(self, outcome: Outcome = Outcome.ALLOWED, **facts: Fact) -> Entry:
        """Return what the log has of it, with some more facts."""
        return Entry(self.actor, self.action, self.resource, outcome, self.call_id, {**self.facts, **facts})


def act_of(caller: Caller, action: str, resource: str, call_id: str, **facts: Fact) -> Act:
    """Return the act of a caller, with what is known of its credential, and some more facts."""
    known: dict[str, Fact] = {"via": caller.via.value}
    if caller.credential:
        known["credential"] = caller.credential
    return Act(caller.name, action, resource, call_id, {**known, **facts})


@asynccontextmanager
async def audited(log: AuditLog, *acts: Act) -> AsyncIterator[None]:
    """Record the acts, then let the body do them; when it fails, second records say so.

    Raises AuditUnavailable, and the body is not run, when a first record can't be made.
    """
    await asyncio.gather(*(log.record(act.entry()) for act in acts))
    try:
        yield
    except VestryError as error:
        await record_failure(log, error, *acts)
        raise


async def record_failure(log: AuditLog, error: VestryError, *acts: Act) -> None:
    """Record that what was allowed was not done; a log that can't record that has its own problem."""
    with suppress(AuditUnavailable):
        await asyncio.gather(*(log.record(act.entry(Outcome.FAILED, error=type(error).__name__)) for act in acts))
