"""A system clock that jumps back: versions are ordered by their numbers, and nothing happens twice."""

from __future__ import annotations

from datetime import timedelta

from secret_engine import ALICE, Rig, restarted, running
from vestryd.domain.secrets.generators import Hex
from vestryd.domain.secrets.heads import Label
from vestryd.domain.secrets.rotation import RotationPolicy, RotationState
from vestryd.domain.secrets.settings import Settings

NS = "default"
HOUR = timedelta(hours=1)


async def value(rig: Rig, label: Label = Label.CURRENT) -> bytes:
    return (await rig.secrets.access(ALICE, NS, "key", label=label)).value


async def test_versions_follow_each_other_whatever_the_clock_says() -> None:
    """What was written last is current, also when it says that it is older; so it is after a restart."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        rig.clock.advance(days=-400)
        await rig.secrets.rotate(ALICE, NS, "key", content=b"2", grace=HOUR)
        assert (await value(rig), await value(rig, Label.PREVIOUS)) == (b"2", b"1")
        fresh = await restarted(rig)
        assert (await value(fresh), [*fresh.secrets.problems()]) == (b"2", [])


async def test_the_keyring_and_its_work_go_on() -> None:
    """A new term is active, and everything is wrapped by it."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        rig.clock.advance(days=-400)
        assert await rig.vault.rotate_keyring(ALICE) == 2
        await rig.secrets.rewrap.finish()
        assert rig.secrets.rewrap.progress(ALICE).remaining == 0
        assert await value(rig) == b"1"


async def test_what_was_rotated_is_not_rotated_again() -> None:
    """When the hour comes a second time, the daemon leaves the secret alone until the new value is an hour old."""
    async with running() as rig:
        settings = Settings(rotation=RotationPolicy(period=HOUR, generator=Hex(8)))
        await rig.secrets.put(ALICE, NS, "key", content=b"1", settings=settings)
        rig.clock.advance(hours=1)
        await rig.secrets._rotations.sweep()
        rig.clock.advance(minutes=-30)
        for _ in range(2):
            await rig.secrets._rotations.sweep()
            rig.clock.advance(minutes=30)
        head = rig.secrets.get(ALICE, NS, "key")
        assert (head.current, head.rotation_state(rig.clock.now())) == (2, RotationState.SCHEDULED)
        rig.clock.advance(minutes=30)
        await rig.secrets._rotations.sweep()
        assert rig.secrets.get(ALICE, NS, "key").current == 3


async def test_a_grace_that_is_over_is_not_prolonged_beyond_its_end() -> None:
    """The end of a grace is a moment: before it the previous value works, also when it comes a second time."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"1")
        await rig.secrets.rotate(ALICE, NS, "key", content=b"2", grace=HOUR)
        until = rig.secrets.get(ALICE, NS, "key").previous_until
        rig.clock.advance(hours=2)
        rig.clock.advance(hours=-2)
        assert rig.secrets.get(ALICE, NS, "key").previous_until == until
        assert await value(rig, Label.PREVIOUS) == b"1"
