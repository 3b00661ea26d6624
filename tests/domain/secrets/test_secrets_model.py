"""Whatever is done to secrets in whatever order, crashes and sealings included: they answer as a plain model does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from secret_engine import ALICE, KEY_FILE, Rig, build
from vestryd.domain.errors import SecretNotFound, SecretUnusable, VersionNotFound, VestryError
from vestryd.domain.sealing.envelope import term_of
from vestryd.domain.secrets.heads import VERSIONS
from vestryd.domain.secrets.rotation import RotationStep

T = TypeVar("T")

NS = "default"
NAMES = st.sampled_from(["a", "b.c"])
VALUES = st.binary(min_size=1, max_size=3)


@dataclass
class Model:
    """One secret, as plainly as it can be said: number -> value, None once it is destroyed."""

    values: dict[int, bytes | None] = field(default_factory=dict)
    current: int = 0
    previous: int = 0
    pending: int = 0
    is_deleted: bool = False

    def add(self, value: bytes) -> int:
        self.values[len(self.values) + 1] = value
        return len(self.values)

    def promote(self, number: int) -> None:
        self.previous = self.current or self.previous
        self.current = number

    def destroy(self, number: int) -> None:
        self.values[number] = None
        self.current, self.previous, self.pending = (
            0 if label == number else label for label in (self.current, self.previous, self.pending)
        )


class SecretsMachine(RuleBasedStateMachine):
    """Does the same to the engine and to the model, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model: dict[str, Model] = {}
        self.terms = 1
        self.rig = self.run(self.start(build()))

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Wait for the engine."""
        return self.loop.run_until_complete(asyncio.wait_for(what, 10))

    async def start(self, rig: Rig) -> Rig:
        """Open an engine, and let it follow its store."""
        await rig.secrets.open([KEY_FILE])
        self.follower = asyncio.create_task(rig.secrets.follow())
        return rig

    async def stop(self) -> None:
        """Let the engine go, as a crash does: nothing is said or written."""
        self.follower.cancel()
        await asyncio.gather(self.follower, return_exceptions=True)

    def attempt(self, what: Coroutine[Any, Any, Any], *errors: type[VestryError]) -> bool:
        """Let the engine do it, or refuse it with one of the errors if there are any; tell which."""
        if not errors:
            self.run(what)
            return True
        with pytest.raises(errors):
            self.run(what)
        return False

    def refusals(self, name: str, *, needs_pending: bool = False, no_pending: bool = False) -> list[type[VestryError]]:
        """Return the error that a change of a secret that is there must meet."""
        one = self.model.get(name)
        if one is None or one.is_deleted:
            return [SecretNotFound]
        return [SecretUnusable] if (needs_pending and not one.pending) or (no_pending and one.pending) else []

    @rule(name=NAMES, value=VALUES)
    def put(self, name: str, value: bytes) -> None:
        """A put makes the current version, unless the secret is deleted."""
        is_deleted = name in self.model and self.model[name].is_deleted
        if self.attempt(
            self.rig.secrets.put(ALICE, NS, name, content=value), *([SecretNotFound] if is_deleted else [])
        ):
            one = self.model.setdefault(name, Model())
            one.promote(one.add(value))

    @rule(name=NAMES, value=VALUES)
    def rotate(self, name: str, value: bytes) -> None:
        """A rotation is a put that waits for nothing pending."""
        rotation = self.rig.secrets.rotate(ALICE, NS, name, content=value)
        if self.attempt(rotation, *self.refusals(name, no_pending=True)):
            self.model[name].promote(self.model[name].add(value))

    @rule(name=NAMES, value=VALUES)
    def make_pending(self, name: str, value: bytes) -> None:
        """A pending version is there, and not current."""
        rotation = self.rig.secrets.rotate(ALICE, NS, name, step=RotationStep.PENDING, content=value)
        if self.attempt(rotation, *self.refusals(name, no_pending=True)):
            self.model[name].pending = self.model[name].add(value)

    @rule(name=NAMES)
    def promote(self, name: str) -> None:
        """What is pending becomes current."""
        rotation = self.rig.secrets.rotate(ALICE, NS, name, step=RotationStep.PROMOTE)
        if self.attempt(rotation, *self.refusals(name, needs_pending=True)):
            one = self.model[name]
            one.promote(one.pending)
            one.pending = 0

    @rule(name=NAMES)
    def abandon(self, name: str) -> None:
        """What is pending is destroyed."""
        rotation = self.rig.secrets.rotate(ALICE, NS, name, step=RotationStep.ABANDON)
        if self.attempt(rotation, *self.refusals(name, needs_pending=True)):
            self.model[name].destroy(self.model[name].pending)

    @rule(name=NAMES, is_deletion=st.booleans())
    def delete(self, name: str, is_deletion: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        """A deletion and its undoing can be repeated."""
        secrets = self.rig.secrets
        change = secrets.delete(ALICE, NS, name) if is_deletion else secrets.undelete(ALICE, NS, name)
        if self.attempt(change, *([] if name in self.model else [SecretNotFound])):
            self.model[name].is_deleted = is_deletion

    @rule(name=NAMES, number=st.integers(1, 6))
    def destroy(self, name: str, number: int) -> None:
        """Any version goes but the current one of a secret that isn't deleted."""
        one = self.model.get(name)
        errors: list[type[VestryError]] = [] if one else [SecretNotFound]
        if one and number not in one.values:
            errors = [VersionNotFound]
        elif one and number == one.current and not one.is_deleted:
            errors = [SecretUnusable]
        if self.attempt(self.rig.secrets.destroy(ALICE, NS, name, number), *errors):
            self.model[name].destroy(number)

    @rule()
    def rotate_keyring(self) -> None:
        """A new term wraps what comes; the others still open what they wrap."""
        self.run(self.rig.vault.rotate_keyring(ALICE))
        self.terms += 1

    @rule()
    def rewrap(self) -> None:
        """Everything moves to the active term."""
        self.run(self.rig.secrets.rewrap.finish())
        records = self.run(self.rig.entries(VERSIONS)).values()
        assert {term_of(entry.value) for entry in records} <= {self.terms}

    @rule()
    def seal_and_unseal(self) -> None:
        """Sealing forgets nothing but the keys."""
        self.run(self.rig.vault.seal(ALICE))
        self.run(self.rig.vault.unseal(ALICE, [KEY_FILE]))

    @rule()
    def crash(self) -> None:
        """What was acknowledged is there after a crash."""
        self.run(self.stop())
        self.rig = self.run(self.start(build(self.rig.store, self.rig.clock, self.rig.audit)))

    @precondition(lambda self: self.model)
    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """Labels, states, values, and the records in the store."""
        records = set(self.run(self.rig.entries(VERSIONS)))
        for name, one in self.model.items():
            head = self.rig.secrets.get(ALICE, NS, name)
            labels = (head.current, head.previous, head.pending, head.newest, head.is_deleted)
            assert labels == (one.current, one.previous, one.pending, len(one.values), one.is_deleted)
            for number, value in one.values.items():
                key = f"{VERSIONS}{NS}/{name}/{number:012d}"
                assert (key in records) is (value is not None)
                if value is not None and not one.is_deleted:
                    assert self.run(self.rig.secrets.access(ALICE, NS, name, version=number)).value == value
        assert not [*self.rig.secrets.problems()]

    def teardown(self) -> None:
        """Take all down."""
        self.run(self.stop())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


TestSecretsMachine = SecretsMachine.TestCase
TestSecretsMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
