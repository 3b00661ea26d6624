from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from secret_engine import ALICE, Rig, eventually, restarted, running
from vestry.audit_record import Outcome
from vestryd.domain.errors import (
    InvalidField,
    SecretNotFound,
    SecretUnusable,
    VersionMismatch,
)
from vestryd.domain.secrets.events import SecretEvent
from vestryd.domain.secrets.generators import Hex
from vestryd.domain.secrets.heads import Label
from vestryd.domain.secrets.rotation import RotationPolicy, RotationState, RotationStep
from vestryd.domain.secrets.settings import Settings

NS = "default"
HOUR = timedelta(hours=1)


async def value(rig: Rig, label: Label = Label.CURRENT) -> bytes:
    return (await rig.secrets.access(ALICE, NS, "key", label=label)).value


def with_policy(**policy: object) -> Settings:
    return Settings(rotation=RotationPolicy(**policy))  # type: ignore[arg-type]


async def test_the_previous_value_works_for_its_grace() -> None:
    """A rotation's previous value is given until its grace period is over, and says when that is."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        await rig.secrets.rotate(ALICE, NS, "key", content=b"2", grace=HOUR)
        assert (await value(rig), await value(rig, Label.PREVIOUS)) == (b"2", b"1")
        previous = await rig.secrets.access(ALICE, NS, "key", label=Label.PREVIOUS)
        assert previous.expire_time == rig.clock.now() + HOUR
        rig.clock.advance(minutes=59)
        assert await value(rig, Label.PREVIOUS) == b"1"
        rig.clock.advance(minutes=1)
        with pytest.raises(SecretUnusable, match="grace"):
            await value(rig, Label.PREVIOUS)
        assert (await rig.secrets.access(ALICE, NS, "key", version=1)).value == b"1"


async def test_the_policy_says_grace_and_generator() -> None:
    """What the caller leaves out comes from the policy; without a generator a value is needed."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=with_policy(grace=HOUR, generator=Hex(8)))
        await rig.secrets.rotate(ALICE, NS, "key")
        assert len(await value(rig)) == 16
        assert await value(rig, Label.PREVIOUS) == b"1"
        await rig.secrets.update(ALICE, NS, "key", settings=Settings())
        with pytest.raises(InvalidField, match="generator"):
            await rig.secrets.rotate(ALICE, NS, "key")


async def test_two_steps() -> None:
    """A pending value can be had by its label, and nobody else sees it until it is promoted."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        pending = await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PENDING, content=b"2")
        assert (pending.version, await value(rig), await value(rig, Label.PENDING)) == (2, b"1", b"2")
        promoted = await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PROMOTE, grace=HOUR)
        assert (promoted.version, await value(rig), await value(rig, Label.PREVIOUS)) == (2, b"2", b"1")
        events = [SecretEvent.CURRENT_CHANGED, SecretEvent.PENDING_CHANGED, SecretEvent.CURRENT_CHANGED]
        assert [change.event for change in rig.changes] == events
        with pytest.raises(SecretUnusable, match="no pending"):
            await value(rig, Label.PENDING)


async def test_an_abandoned_value_is_destroyed() -> None:
    """The pending version's record goes, and its number isn't used again."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PENDING, content=b"2")
        await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.ABANDON)
        assert "secret-version/default/key/000000000002" not in await rig.of_secret("key")
        assert rig.changes[-1].event is SecretEvent.PENDING_CHANGED
        assert (await rig.secrets.rotate(ALICE, NS, "key", content=b"3")).version == 3


async def test_a_step_that_cannot_be_taken_is_refused() -> None:
    """No second pending version, nothing to promote or abandon, no value for those steps, no secret."""
    async with running() as rig:
        with pytest.raises(SecretNotFound):
            await rig.secrets.rotate(ALICE, NS, "key", content=b"1")
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        for step in (RotationStep.PROMOTE, RotationStep.ABANDON):
            with pytest.raises(SecretUnusable, match="no version is pending"):
                await rig.secrets.rotate(ALICE, NS, "key", step=step)
            with pytest.raises(InvalidField):
                await rig.secrets.rotate(ALICE, NS, "key", step=step, content=b"2")
        await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PENDING, content=b"2")
        for step in (RotationStep.PENDING, RotationStep.ALL):
            with pytest.raises(SecretUnusable, match="promote or abandon"):
                await rig.secrets.rotate(ALICE, NS, "key", step=step, content=b"3")
        for grace in (timedelta(seconds=-1), timedelta(days=400)):
            with pytest.raises(InvalidField):
                await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PROMOTE, grace=grace)


async def test_a_repeated_rotation_rotates_once() -> None:
    """Each step is safe to repeat with its request_id, a generated value included."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        for number, step in enumerate((RotationStep.ALL, RotationStep.PENDING)):
            for _ in range(2):
                await rig.secrets.rotate(ALICE, NS, "key", step=step, content=Hex(), request_id=f"r{number}")
        for _ in range(2):
            await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PROMOTE, request_id="r2")
        head = rig.secrets.get(ALICE, NS, "key")
        assert (head.newest, head.current, head.previous, head.pending) == (3, 3, 2, 0)


async def test_a_rotation_falls_due_and_is_overdue() -> None:
    """State, counts and events follow the clock; a new value begins a new period."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=with_policy(period=10 * HOUR))
        await rig.secrets.put(ALICE, NS, "other", content=b"1")
        head = rig.secrets.get(ALICE, NS, "key")
        assert head.next_rotation_time == rig.clock.now() + 10 * HOUR

        async def step(**spans: float) -> tuple[RotationState, int, int, list[SecretEvent]]:
            rig.changes.clear()
            rig.clock.advance(**spans)
            await rig.secrets._rotations.sweep()
            state = rig.secrets.get(ALICE, NS, "key").rotation_state(rig.clock.now())
            figures = rig.secrets.figures()
            return state, figures.due, figures.overdue, [change.event for change in rig.changes]

        due = [SecretEvent.ROTATION_DUE]
        assert await step(hours=9) == (RotationState.SCHEDULED, 0, 0, [])
        assert await step(hours=1) == (RotationState.DUE, 1, 0, due)
        assert await step(minutes=1) == (RotationState.DUE, 1, 0, [])
        assert await step(hours=1) == (RotationState.OVERDUE, 0, 1, due)
        assert any("overdue" in problem for problem in rig.secrets.problems())
        await rig.secrets.put(ALICE, NS, "key", content=b"2")
        assert await step() == (RotationState.SCHEDULED, 0, 0, [])
        await rig.secrets.delete(ALICE, NS, "key")
        assert await step(days=9) == (RotationState.NONE, 0, 0, [])


async def test_the_daemon_rotates_by_itself() -> None:
    """With period and generator a due secret gets a new value, made by vestryd, in the log and with its grace."""
    async with running() as rig:
        settings = with_policy(period=HOUR, grace=HOUR, generator=Hex(8))
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=settings)
        task = asyncio.create_task(rig.secrets.run_rotations())
        rig.clock.advance(hours=1)
        await eventually(lambda: rig.secrets.get(ALICE, NS, "key").current == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(await value(rig)) == 16
        assert await value(rig, Label.PREVIOUS) == b"1"
        assert rig.secrets.get(ALICE, NS, "key").author == "vestryd"
        assert [one.actor for one in await rig.records("secrets.rotate")] == ["vestryd"]
        assert [change.event for change in rig.changes] == [SecretEvent.CURRENT_CHANGED] * 2


async def test_a_rotation_that_fails_is_told_and_tried_again() -> None:
    """While the log refuses, the secret is due; a minute after it works again, it is rotated."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=with_policy(period=HOUR, generator=Hex(8)))
        rig.audit.problem = "full"
        rig.clock.advance(hours=1)
        await rig.secrets._rotations.sweep()
        assert (rig.secrets.get(ALICE, NS, "key").current, rig.changes[-1].event) == (1, SecretEvent.ROTATION_DUE)
        rig.audit.problem = ""
        await rig.secrets._rotations.sweep()
        assert rig.secrets.get(ALICE, NS, "key").current == 1
        rig.clock.advance(minutes=1)
        await rig.secrets._rotations.sweep()
        assert rig.secrets.get(ALICE, NS, "key").current == 2


async def test_what_somebody_rotates_by_hand_is_left_alone() -> None:
    """A pending version keeps the daemon from rotating over it; a deleted or sealed secret is not rotated."""
    async with running() as rig:
        settings = with_policy(period=HOUR, generator=Hex(8))
        for name in ("key", "deleted"):
            await rig.secrets.put(ALICE, NS, name, content=b"1", settings=settings)
        await rig.secrets.rotate(ALICE, NS, "key", step=RotationStep.PENDING, content=b"2")
        await rig.secrets.delete(ALICE, NS, "deleted")
        rig.clock.advance(hours=1)
        await rig.secrets._rotations.sweep()
        assert (rig.secrets.get(ALICE, NS, "key").current, rig.secrets.get(ALICE, NS, "deleted").newest) == (1, 1)
        await rig.vault.seal(ALICE)
        await rig.secrets._rotations.sweep()


async def test_a_start_catches_up_with_what_fell_due() -> None:
    """What fell due while the daemon was down is rotated soon after it starts."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=with_policy(period=HOUR, generator=Hex(8)))
        rig.clock.advance(hours=5)
    async with running(rig.store, rig.clock, rig.audit) as fresh:
        await fresh.secrets._rotations.sweep()
        assert fresh.secrets.get(ALICE, NS, "key").current == 2


async def test_two_instances_rotate_once() -> None:
    """The instance that comes second does nothing."""
    async with running() as one, running(one.store, one.clock, one.audit) as other:
        await one.secrets.put(ALICE, NS, "key", content=b"1", settings=with_policy(period=HOUR, generator=Hex(8)))
        await other.secrets.until(one.secrets.revision)
        one.clock.advance(hours=1)
        await asyncio.gather(one.secrets._rotations.sweep(), other.secrets._rotations.sweep())
        assert one.secrets.get(ALICE, NS, "key").newest == 2


async def test_the_status_shows_what_is_most_due_first() -> None:
    """Secrets with a period, by the time at which they fall due, a page at a time."""
    async with running() as rig:
        for name, hours in (("c", 1), ("a", 3), ("b", 2), ("d", 3)):
            await rig.secrets.put(ALICE, NS, name, content=b"v", settings=with_policy(period=hours * HOUR))
        await rig.secrets.put(ALICE, NS, "none", content=b"v")
        rig.clock.advance(hours=2)
        status = rig.secrets.rotation_status(ALICE, NS)
        assert [head.name for head in status.heads] == ["c", "b", "a", "d"]
        assert (status.due, status.overdue) == (1, 1)
        last = status.heads[1]
        assert last.next_rotation_time is not None
        page = rig.secrets.rotation_status(ALICE, NS, after=(last.next_rotation_time, last.name), limit=1)
        assert [head.name for head in page.heads] == ["a"]
        assert [head.name for head in rig.secrets.rotation_status(ALICE, NS, only_due=True).heads] == ["c", "b"]


@pytest.mark.parametrize(
    "policy",
    [
        {"period": timedelta(seconds=59)},
        {"period": timedelta(days=4000)},
        {"grace": timedelta(days=400)},
        {"generator": Hex(4)},
    ],
)
async def test_a_policy_that_cannot_be_followed_is_refused(policy: dict[str, object]) -> None:
    """Period, grace and generator have their bounds."""
    async with running() as rig:
        with pytest.raises(InvalidField):
            await rig.secrets.put(ALICE, NS, "key", content=b"v", settings=with_policy(**policy))


async def test_a_rotation_expects_a_version() -> None:
    """A rotation that believes in another current version is refused, and nothing is recorded as done."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        with pytest.raises(VersionMismatch):
            await rig.secrets.rotate(ALICE, NS, "key", content=b"2", expected_version=5)
        assert not await rig.records("secrets.rotate")
        fresh = await restarted(rig)
        assert (await fresh.secrets.access(ALICE, NS, "key")).value == b"1"
        assert all(record.outcome is Outcome.ALLOWED for record in await rig.records())
