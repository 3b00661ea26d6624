"""Secrets: what callers can do to them. Every operation checks the caller, and is recorded before it is done.

No value is in a `repr`, an error or a record of the audit log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from vestryd.domain.access import Guard
from vestryd.domain.audit import AuditLog
from vestryd.domain.audited import act_of, record_failure
from vestryd.domain.clock import Clock
from vestryd.domain.errors import VestryError
from vestryd.domain.identity import Caller
from vestryd.domain.references import Reference
from vestryd.domain.secrets.events import Change
from vestryd.domain.secrets.heads import Head, Label, namespace_path, secret_path
from vestryd.domain.secrets.index import INDEX, Index, encode_index
from vestryd.domain.secrets.mirror import Mirror
from vestryd.domain.secrets.reads import SecretReads, checked_namespace, checked_path
from vestryd.domain.secrets.rewrap import Rewrap
from vestryd.domain.secrets.rotations import Rotations
from vestryd.domain.secrets.transfer import ExportedFile, ImportConflict, Imported, ImportItem, Transfer, read_items
from vestryd.domain.secrets.unlock import Material
from vestryd.domain.secrets.values import Accessed, Values
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.secrets.writer import Writer
from vestryd.domain.secrets.writes import SecretWrites
from vestryd.domain.store import Store


@dataclass(frozen=True, slots=True)
class SecretFigures:
    """How many secrets and versions there are, how their rotations stand, and how many heads are damaged."""

    secrets: int = 0
    versions: int = 0
    due: int = 0
    overdue: int = 0
    damaged: int = 0


class Secrets(SecretReads, SecretWrites):
    """The secrets of a fleet, for as long as the daemon lives; sealed, every operation raises Sealed.

    `open` first; then `follow`, `run_rotations` and `run_rewrap` run as tasks, and everything else may be called.
    `on_changed` is called with the changes of one revision right after readers can see them, and when rotations fall due;
    it must neither wait nor raise. Versions are numbered 1, 2, 3, …, and no number is used twice; the newest 100 of a
    secret are kept, and those that have a label.
    """

    def __init__(self, vault: Vault, store: Store, guard: Guard, audit: AuditLog, clock: Clock) -> None:
        mirror = Mirror(vault, store)
        writer = Writer(vault, store, mirror, audit, clock)
        SecretReads.__init__(self, mirror, guard, clock)
        SecretWrites.__init__(self, mirror, writer, guard)
        self.on_changed: Callable[[int, tuple[Change, ...]], None] = lambda _revision, _changes: None
        self._vault = vault
        self._audit = audit
        self._values = Values(vault, mirror, store.store_id, clock)
        self._transfer = Transfer(self._values, writer, audit, clock)
        self._rotations = Rotations(writer, clock)
        self.rewrap = Rewrap(vault, store, mirror, writer)
        mirror.on_loaded, mirror.on_changed = self._loaded, self._changed
        self._rotations.on_due = lambda changes: self.on_changed(self.revision, changes)
        vault.on_founded = lambda mac_key: {INDEX: encode_index(Index(), mac_key)}
        vault.on_opened.append(mirror.load)
        vault.on_sealed.append(self._forget)
        vault.on_rotated.append(self.rewrap.rotated)

    @property
    def revision(self) -> int:
        """The store's revision that reads are true at."""
        return self._mirror.revision

    async def open(self, materials: Sequence[Material]) -> None:
        """Open the vault at the daemon's start, and read what it opens. Sealed is no error. Raises StoreUnavailable."""
        await self._mirror.begin()
        await self._vault.open(materials)

    async def follow(self) -> None:
        """Apply what the store commits, until it is closed or this is cancelled."""
        await self._mirror.follow()

    async def until(self, revision: int) -> None:
        """Return once readers see `revision`. Raises ShuttingDown when nothing is applied any more."""
        await self._mirror.until(revision)

    async def run_rotations(self) -> None:
        """Rotate what is due, and tell of it, until this is cancelled."""
        await self._rotations.run()

    async def run_rewrap(self) -> None:
        """Wrap again what older terms wrap, until this is cancelled."""
        await self.rewrap.run()

    def problems(self) -> Iterator[str]:
        """Yield what an administrator should look at."""
        if self._vault.problem:
            yield f"sealed: {self._vault.problem}"
        if self._vault.is_sealed:
            return
        yield from self._mirror.registry.problems()
        if self.rewrap.problem:
            yield f"versions can't be wrapped again: {self.rewrap.problem}"
        _, overdue = self._rotations.count()
        if overdue:
            yield f"{overdue} rotations of secrets are overdue"

    def figures(self) -> SecretFigures:
        """Tell how many there are; nothing, while they are sealed."""
        if self._vault.is_sealed:
            return SecretFigures()
        registry, (due, overdue) = self._mirror.registry, self._rotations.count()
        return SecretFigures(len(registry), registry.terms.total(), due, overdue, registry.damaged)

    async def access(
        self,
        caller: Caller,
        namespace: str,
        name: str,
        *,
        version: int = 0,
        label: Label = Label.CURRENT,
        call_id: str = "",
    ) -> Accessed:
        """Return the value of a version: `version`, or for 0 the one with the label. It is recorded before it is read.

        Raises SecretNotFound, VersionNotFound, SecretUnusable, RecordDamaged, AuditUnavailable.
        """
        path = checked_path(namespace, name)
        self._guard.require(caller, "secrets.access", path)
        number = self._values.find(namespace, name, version, label)
        act = act_of(caller, "secrets.access", path, call_id, version=number)
        await self._audit.record(act.entry())
        try:
            return await self._values.access(namespace, name, number, label=None if version else label)
        except VestryError as error:
            await record_failure(self._audit, error, act)
            raise

    async def resolve(self, caller: Caller, path: str, *, call_id: str = "") -> Accessed:
        """Return what a reference in a document means, `namespaces/NS/secrets/NAME`: the current value, if `caller` may.

        Raises InvalidField for another path, and what `access` raises.
        """
        reference = Reference.parse(path)
        return await self.access(caller, reference.namespace, reference.name, call_id=call_id)

    async def export(
        self, caller: Caller, namespace: str, names: Sequence[str], passphrase: bytes, *, call_id: str = ""
    ) -> AsyncGenerator[ExportedFile, None]:
        """Yield current values as files; no names: all that are neither deleted nor expired. Each is recorded before.

        It gives values away, so the caller must be allowed `secrets.access` on each: a rule that denies one holds here too.
        Raises PermissionDenied, SecretNotFound, SecretUnusable before any is sent; UnlockRefused, RecordDamaged.
        """
        path = namespace_path(checked_namespace(namespace))
        self._guard.require(caller, "secrets.export", path)
        for name in names:
            self._guard.require(caller, "secrets.access", checked_path(namespace, name))
        heads = [self._accessible(caller, head) for head in self._transfer.choose(namespace, names)]
        act = act_of(caller, "secrets.export", path, call_id)
        still_accessible = (self._accessible(caller, head) for head in heads)  # asked of each when its turn comes
        async with aclosing(self._transfer.give_out(act, still_accessible, passphrase)) as files:
            async for file in files:
                yield file

    async def import_(
        self,
        caller: Caller,
        namespace: str,
        items: Sequence[ImportItem],
        *,
        passphrase: bytes = b"",
        conflict: ImportConflict = ImportConflict.REFUSE,
        dry_run: bool = False,
        call_id: str = "",
    ) -> list[Imported]:
        """Take in up to 30 secrets, all or none, and return what became of each, in order.

        The caller must be allowed `secrets.put` on each as well. Raises VersionMismatch for one that has another value,
        unless `conflict` says otherwise; SecretNotFound for one that is deleted; InvalidField, UnlockRefused, LimitExceeded.
        """
        path = namespace_path(checked_namespace(namespace))
        self._guard.require(caller, "secrets.import", path)
        _ = self._mirror.registry
        incoming = await read_items(namespace, items, passphrase)
        for one in incoming:
            self._guard.require(caller, "secrets.put", secret_path(namespace, one.name))
        act = act_of(caller, "secrets.import", path, call_id)
        return await self._transfer.take_in(act, namespace, incoming, conflict, is_trial=dry_run)

    def _accessible(self, caller: Caller, head: Head) -> Head:
        """Return a head whose value `caller` may have. Raises PermissionDenied."""
        self._guard.require(caller, "secrets.access", head.path)
        return head

    def _loaded(self) -> None:
        self._rotations.begin(self._mirror.registry.heads())
        self.rewrap.wake()

    def _forget(self) -> None:
        self._mirror.forget()
        self._rotations.begin(())

    def _changed(self, revision: int, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self._rotations.note(change.head)
        if not self._vault.is_sealed and self._mirror.registry.is_worn(self._vault.keyring.active.number):
            self.rewrap.wake()
        self.on_changed(revision, changes)
