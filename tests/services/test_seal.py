from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from services.daemon import KEY, Services, reason_of, serving
from services.secret_calls import CANARY, keeping, put, refusal, value_of
from vestry.v1 import seal_pb2 as pb
from vestry.v1.config_pb2 import ListNamespacesRequest
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets.unlock import Material

PASSPHRASE = "correct horse battery"
OTHER_KEY = b"another key of 32 bytes or more..."


def by_passphrase(passphrase: str = PASSPHRASE, label: str = "") -> pb.UnlockSource:
    """Return what opens a slot with a passphrase."""
    return pb.UnlockSource(passphrase=passphrase, label=label)


async def status(services: Services) -> Any:
    """Return how the secrets stand."""
    return await services.ask("GetSealStatus", pb.GetSealStatusRequest())


async def slots(services: Services) -> list[Any]:
    """Return the slots."""
    return list((await services.ask("ListUnlockSlots", pb.ListUnlockSlotsRequest())).slots)


class TestSealing:
    """Dropping the keys, and taking them up again."""

    async def test_sealed_and_unsealed_by_the_daemons_own_sources(self) -> None:
        """Both are idempotent; everything that was there is there again."""
        async with keeping() as services:
            await put(services)
            before = await status(services)
            assert (before.sealed, before.problem, before.secrets) == (False, "", 1)
            for _ in range(2):
                await services.ask("Seal", pb.SealRequest())
            sealed = await status(services)
            assert (sealed.sealed, sealed.slot_id, sealed.secrets) == (True, "", 0)
            assert "somebody sealed them" in sealed.problem
            for _ in range(2):
                assert (await services.ask("Unseal", pb.UnsealRequest())).slot_id == before.slot_id
            assert await status(services) == before
            assert await value_of(services) == CANARY

    async def test_a_passphrase_opens_its_own_slot(self) -> None:
        """And another one none: with the same words for all, and nothing of what was tried."""
        async with keeping() as services:
            slot = (await services.ask("AddUnlockSlot", pb.AddUnlockSlotRequest(source=by_passphrase()))).slot
            await services.ask("Seal", pb.SealRequest())
            with capture_logs() as logs:
                refused = await refusal(services, "Unseal", pb.UnsealRequest(passphrase=f"{PASSPHRASE}!"))
                assert refused.reason == "UNLOCK_REFUSED"
                assert PASSPHRASE not in refused.message
                answer = await services.ask("Unseal", pb.UnsealRequest(passphrase=PASSPHRASE))
            assert answer.slot_id == slot.slot_id
            assert PASSPHRASE not in repr(logs) + repr(await services.audit.read(after=0, limit=1000))
            assert logs[-1]["slot_id"] == slot.slot_id

    async def test_sources_that_can_not_be_used_are_named(self) -> None:
        """To who asks for them to be tried."""
        async with keeping() as services:
            await services.ask("Seal", pb.SealRequest())
            services.kept.unlock.yields = []
            services.kept.unlock.troubles = ["key file /k can't be used: others may read or write it"]
            refused = await refusal(services, "Unseal", pb.UnsealRequest())
            assert refused.reason == "UNLOCK_REFUSED"
            assert refused.message.endswith("; key file /k can't be used: others may read or write it")

    async def test_a_daemon_without_a_source_stays_sealed_and_goes_on(self) -> None:
        """It says why; configuration is none of this."""
        async with serving(materials=[]) as services:
            found = await status(services)
            assert found.sealed
            assert "there is no unlock source" in found.problem
            assert await slots(services) == []
            await services.ask("ListNamespaces", ListNamespacesRequest())


class TestSlots:
    """What opens the secrets."""

    async def test_slots_of_each_kind(self) -> None:
        """Oldest first, with what people need to know of them."""
        async with keeping() as services:
            services.kept.unlock.files = {"/etc/key": OTHER_KEY, "backup": OTHER_KEY}
            for source in (
                by_passphrase(label="in the safe"),
                pb.UnlockSource(key_file="/etc/key"),
                pb.UnlockSource(systemd_credential="backup"),
            ):
                services.engine.clock.advance(seconds=1)
                await services.ask("AddUnlockSlot", pb.AddUnlockSlotRequest(source=source))
            found = await slots(services)
            assert [(one.kind, one.label) for one in found] == [
                (pb.UNLOCK_KIND_KEY_FILE, KEY.source),
                (pb.UNLOCK_KIND_PASSPHRASE, "in the safe"),
                (pb.UNLOCK_KIND_KEY_FILE, ""),
                (pb.UNLOCK_KIND_SYSTEMD_CREDENTIAL, ""),
            ]
            assert [one.derivation for one in found[:2]] == ["HKDF-SHA256", "PBKDF2-HMAC-SHA256, 600000 iterations"]
            assert found[3].create_time.ToSeconds() == int(services.engine.clock.now().timestamp())

    async def test_a_slot_can_be_replaced(self) -> None:
        """The new one opens the secrets, and the old one is gone."""
        async with keeping() as services:
            await put(services)
            (old,) = await slots(services)
            request = pb.RekeyUnlockSlotRequest(slot_id=old.slot_id, source=by_passphrase(label="new"))
            new = (await services.ask("RekeyUnlockSlot", request)).slot
            assert await slots(services) == [new]
            assert new.slot_id != old.slot_id
            await services.ask("Seal", pb.SealRequest())
            assert await reason_of(services, "Unseal", pb.UnsealRequest()) == "UNLOCK_REFUSED"
            await services.ask("Unseal", pb.UnsealRequest(passphrase=PASSPHRASE))
            assert await value_of(services) == CANARY

    async def test_a_slot_can_be_removed_but_not_the_last(self) -> None:
        """Nor one that isn't there."""
        async with keeping() as services:
            services.kept.unlock.files = {"/etc/key": OTHER_KEY}
            (first,) = await slots(services)
            request = pb.RemoveUnlockSlotRequest(slot_id=first.slot_id)
            assert await reason_of(services, "RemoveUnlockSlot", request) == "LAST_SLOT"
            source = pb.UnlockSource(key_file="/etc/key")
            await services.ask("AddUnlockSlot", pb.AddUnlockSlotRequest(source=source))
            await services.ask("RemoveUnlockSlot", request)
            assert await reason_of(services, "RemoveUnlockSlot", request) == "SLOT_NOT_FOUND"
            assert len(await slots(services)) == 1

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            (pb.UnlockSource(), "INVALID_FIELD"),
            (pb.UnlockSource(label="x"), "INVALID_FIELD"),
            (by_passphrase(""), "UNLOCK_REFUSED"),
            (by_passphrase("too short"), "UNLOCK_REFUSED"),
            (by_passphrase("a line\nand another"), "UNLOCK_REFUSED"),
            (by_passphrase(label="x" * 65), "INVALID_FIELD"),
            (by_passphrase(label="a\nb"), "INVALID_FIELD"),
            (pb.UnlockSource(key_file="/none"), "UNLOCK_REFUSED"),
            (pb.UnlockSource(systemd_credential="none"), "UNLOCK_REFUSED"),
            (pb.UnlockSource(key_file="/short"), "UNLOCK_REFUSED"),
        ],
    )
    async def test_what_can_not_open_a_slot(self, source: pb.UnlockSource, reason: str) -> None:
        """Is refused, and the slots stay as they are."""
        async with keeping() as services:
            services.kept.unlock.files = {"/short": b"short"}
            before = await slots(services)
            assert await reason_of(services, "AddUnlockSlot", pb.AddUnlockSlotRequest(source=source)) == reason
            rekey = pb.RekeyUnlockSlotRequest(slot_id=before[0].slot_id, source=source)
            assert await reason_of(services, "RekeyUnlockSlot", rekey) == reason
            assert await slots(services) == before

    async def test_sealed_no_slot_changes(self) -> None:
        """Whoever adds one must have the root key in memory."""
        async with keeping() as services:
            await services.ask("Seal", pb.SealRequest())
            request = pb.AddUnlockSlotRequest(source=by_passphrase())
            assert await reason_of(services, "AddUnlockSlot", request) == "SEALED"

    async def test_another_key_does_not_open_a_store_that_was_founded(self) -> None:
        """It stays sealed, and is not founded again."""
        async with keeping() as services:
            await put(services)
            store = services.engine.store
        wrong = Material(SlotKind.KEY_FILE, OTHER_KEY, "key file /wrong")
        async with serving(store, materials=[wrong]) as services:
            found = await status(services)
            assert found.sealed
            assert "no unlock slot opens with key file /wrong" in found.problem
            await services.ask("Unseal", pb.UnsealRequest())
            assert await value_of(services) == CANARY
