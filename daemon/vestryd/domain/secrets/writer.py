"""Writes secrets: plan, record, commit, and wait until readers see it. One at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from vestryd.domain.audit import AuditLog
from vestryd.domain.audited import Act, audited
from vestryd.domain.clock import Clock
from vestryd.domain.errors import Conflict, RequestIdReused, StoreUnavailable
from vestryd.domain.sealing.binary import fields
from vestryd.domain.sealing.envelope import Place, seal
from vestryd.domain.sealing.keyring import authenticate
from vestryd.domain.secrets.changes import Moment, Plan
from vestryd.domain.secrets.heads import Head, encode_head, head_key, version_key
from vestryd.domain.secrets.index import INDEX, Index, encode_index, member
from vestryd.domain.secrets.keys import KEYRING_HEAD, Keys
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.registry import Registry
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.steps import commit_step
from vestryd.domain.store import ABSENT, Commit, Store
from vestryd.domain.versions import Answered, request_key

CONFLICT_ATTEMPTS = 16  # so often may another instance win the race before the caller hears of it

Make = Callable[[Registry, Moment], Sequence[Plan]]


@dataclass(frozen=True, slots=True)
class Request:
    """What makes a write safe to repeat: its id, who asks, the secret, and what is asked for, in bytes that nobody else sees.

    Only who asked is answered again: another caller with the same id could else try guesses at the value on it.
    """

    id: str
    author: str
    namespace: str
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: the secret now, the version that it is about (0 for none), and where it stands in the store."""

    head: Head
    version: int
    revision: int
    is_changed: bool = True


@dataclass(frozen=True, slots=True)
class Basis:
    """What a write starts from. It is committed only if all of this is still so."""

    keys: Keys
    registry: Registry
    index_revision: int

    @property
    def active(self) -> int:
        """The term that wraps."""
        return self.keys.keyring.active.number


@dataclass(frozen=True, slots=True)
class Draft:
    """What a commit is made of: new heads, records to write and to delete, and how often the active term wrapped."""

    basis: Basis
    heads: Sequence[Head]
    puts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    deletes: frozenset[str] = frozenset()
    wraps: int = 0


class Writer:
    """The one place in which secrets are written. Lives as long as the daemon.

    Every commit expects the index and the keyring as they were: so nobody writes beside it, and nothing is wrapped by a
    term that was retired meanwhile.
    """

    def __init__(self, vault: Vault, store: Store, mirror: Mirror, audit: AuditLog, clock: Clock) -> None:
        self._vault = vault
        self._store = store
        self._mirror = mirror
        self._audit = audit
        self._clock = clock
        self._lock = asyncio.Lock()

    async def write(self, act: Act, make: Make, step: str, request: Request | None = None) -> list[Written]:
        """Do what `make` plans, all of it or nothing, and return once readers here see it.

        `make` is pure, since it runs again when another instance was faster. Each plan is recorded before anything is
        written. A repeated request is answered again, and changes nothing. Raises what `make` does; Sealed,
        AuditUnavailable, RequestIdReused, LimitExceeded, StoreUnavailable.
        """
        async with self.alone():
            for _ in range(CONFLICT_ATTEMPTS):
                answer = await self._answer_of_before(request) if request else None
                if answer:
                    return [answer]
                try:
                    return await self._attempt(act, make, step, request)
                except Conflict as conflict:
                    await self.catch_up(conflict)
        raise StoreUnavailable(f"{CONFLICT_ATTEMPTS} times running, another writer was faster")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Let no other write happen meanwhile."""
        async with self._lock:
            yield

    async def catch_up(self, conflict: Conflict) -> None:
        """Wait until readers here see what another writer did."""
        found = await self._store.read(conflict.key, limit=1)
        await self._mirror.until(found.revision)

    def basis(self) -> Basis:
        """Return what is true now. Raises Sealed."""
        registry = self._mirror.registry
        return Basis(self._vault.keys, registry, registry.index_revision)

    def moment(self, author: str) -> Moment:
        """Return what a change that `author` makes now says of itself. Raises Sealed."""
        return Moment(author, self._clock.now(), self._vault.keyring.active.number)

    async def commit(self, draft: Draft, step: str, answer: Mapping[str, bytes] | None = None) -> int:
        """Write a draft, and return its revision once readers see it; `answer` maps keys that are new -> what they hold.

        Only for who is `alone`. Raises Conflict, Sealed, LimitExceeded, StoreUnavailable.
        """
        keys, registry = draft.basis.keys, draft.basis.registry
        _ = self._vault.keys  # sealed meanwhile?
        records = {head_key(one.namespace, one.name): (encode_head(one, keys.mac_key), one) for one in draft.heads}
        heads = {key: record for key, (record, _) in records.items()}
        index = _next_index(registry, heads, {draft.basis.active: draft.wraps})
        answer = answer or {}
        commit = Commit(
            expect={**dict.fromkeys(answer, ABSENT), KEYRING_HEAD: keys.revision, INDEX: draft.basis.index_revision},
            puts={**heads, **draft.puts, **answer, INDEX: encode_index(index, keys.mac_key)},
            deletes=draft.deletes,
        )
        registry.prepare(records)
        try:
            revision = await commit_step(self._store, commit, step)
            await self._mirror.until(revision)
        finally:
            registry.forget(records)
        return revision

    async def _attempt(self, act: Act, make: Make, step: str, request: Request | None) -> list[Written]:
        basis, moment = self.basis(), self.moment(act.actor)
        plans = make(basis.registry, moment)
        async with audited(self._audit, *(_act_of(act, plan) for plan in plans)):
            changed = [plan for plan in plans if plan.is_changed]
            revision = self._mirror.revision
            if changed:
                answer = self._answer_to(request, basis, plans[0].version, moment.time)
                revision = await self.commit(_draft(basis, changed, self._store.store_id), step, answer)
        return [Written(plan.head, plan.version, revision, plan.is_changed) for plan in plans]

    async def _answer_of_before(self, request: Request) -> Written | None:
        """Return what a request was answered before, with what is known of the secret now."""
        basis = self.basis()
        found = await self._store.read(request_key(request.id), limit=1)
        if not found.entries:
            return None
        answered = Answered.decode(found.entries[0].value)
        if answered.fingerprint != _fingerprint(basis.keys.mac_key, request):
            raise RequestIdReused(request.id)
        head = basis.registry.get(request.namespace, request.name)
        return Written(head, answered.version, found.entries[0].mod_revision)

    def _answer_to(self, request: Request | None, basis: Basis, version: int, now: datetime) -> Mapping[str, bytes]:
        if request is None:
            return {}
        answered = Answered(_fingerprint(basis.keys.mac_key, request), version, changed=True, time=now)
        return {request_key(request.id): answered.encode()}


def _fingerprint(mac_key: bytes, request: Request) -> str:
    """Return what tells a repetition from another request; keyed, since a guess at a value could be tried on it."""
    content = fields(request.author, request.namespace, request.name, request.content)
    return authenticate(mac_key, "secret-request", request_key(request.id), content).hex()


def _act_of(act: Act, plan: Plan) -> Act:
    facts = {**act.facts, **({"version": plan.version} if plan.version else {})}
    return replace(act, resource=plan.head.path, facts={**facts, "changed": plan.is_changed})


def _draft(basis: Basis, plans: Iterable[Plan], store_id: str) -> Draft:
    puts: dict[str, bytes] = {}
    deletes: set[str] = set()
    heads: list[Head] = []
    for plan in plans:
        namespace, name = plan.head.namespace, plan.head.name
        heads.append(plan.head)
        for number, value in plan.values.items():
            place = Place(store_id, namespace, name, number)
            puts[version_key(namespace, name, number)] = seal(basis.keys.keyring, place, value)
        deletes.update(version_key(namespace, name, number) for number in plan.destroyed)
    return Draft(basis, heads, puts, frozenset(deletes), wraps=len(puts))


def _next_index(registry: Registry, heads: Mapping[str, bytes], wraps: Mapping[int, int]) -> Index:
    """Return the index once these heads are written: it vouches for them, and for what it vouched for before."""
    index = registry.index
    digest, count = index.digest, index.count
    for key, record in heads.items():
        before = registry.member(key)
        digest ^= before ^ member(registry.mac_key, key, record)
        count += not before
    counted = {term: index.wraps.get(term, 0) + wraps.get(term, 0) for term in {*index.wraps, *wraps}}
    return Index(index.generation + 1, count, digest, counted)
