"""SealService: the wire's meaning of what opens the secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from vestry.v1 import seal_pb2 as pb
from vestryd.domain.errors import InvalidField, UnlockRefused
from vestryd.domain.sealing.slots import MAX_LABEL_CHARACTERS, PASSPHRASES, Slot, SlotKind
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.unlock import Material
from vestryd.domain.secrets.vault import Vault
from vestryd.services.call import Call
from vestryd.services.common_messages import timestamp

_KINDS = {
    SlotKind.SYSTEMD_CREDENTIAL: pb.UNLOCK_KIND_SYSTEMD_CREDENTIAL,
    SlotKind.KEY_FILE: pb.UNLOCK_KIND_KEY_FILE,
    SlotKind.PASSPHRASE: pb.UNLOCK_KIND_PASSPHRASE,
    SlotKind.ENVIRONMENT: pb.UNLOCK_KIND_ENVIRONMENT,
}


class Sources(Protocol):
    """What the daemon's own host has to open the secrets with. It reads files, and so blocks."""

    def materials(self) -> Sequence[Material]:
        """Return what the sources yield now."""

    def problems(self) -> Sequence[str]:
        """Return why sources could not be used when they were asked last."""

    def read_key_file(self, path: str) -> Material:
        """Return the key in a file. Raises InvalidField, UnlockRefused."""

    def read_credential(self, name: str) -> Material:
        """Return the key in a systemd credential. Raises InvalidField, UnlockRefused."""


class SealService:
    """Answers SealService. Lives as long as the daemon serves."""

    service = "vestry.v1.SealService"

    def __init__(self, vault: Vault, secrets: Secrets, sources: Sources) -> None:
        self._vault = vault
        self._secrets = secrets
        self._sources = sources

    def get_seal_status(self, _request: pb.GetSealStatusRequest, call: Call) -> pb.GetSealStatusResponse:
        """Tell whether the secrets are sealed, and why."""
        self._vault.check(call.caller)
        return pb.GetSealStatusResponse(
            sealed=self._vault.is_sealed,
            problem=self._vault.problem,
            slot_id=self._vault.slot_id,
            secrets=self._secrets.figures().secrets,
        )

    async def seal(self, _request: pb.SealRequest, call: Call) -> pb.SealResponse:
        """Drop the keys."""
        await self._vault.seal(call.caller, call_id=call.request_id)
        return pb.SealResponse()

    async def unseal(self, request: pb.UnsealRequest, call: Call) -> pb.UnsealResponse:
        """Open a slot."""
        if request.passphrase:
            slot_id = await self._vault.unseal(call.caller, [_passphrase(request.passphrase)], call_id=call.request_id)
        else:
            slot_id = await self._unseal_by_sources(call)
        call.facts["slot_id"] = slot_id
        return pb.UnsealResponse(slot_id=slot_id)

    def list_unlock_slots(self, _request: pb.ListUnlockSlotsRequest, call: Call) -> pb.ListUnlockSlotsResponse:
        """List the slots, oldest first."""
        self._vault.check(call.caller)
        return pb.ListUnlockSlotsResponse(slots=[_slot(one) for one in self._vault.slots])

    async def add_unlock_slot(self, request: pb.AddUnlockSlotRequest, call: Call) -> pb.AddUnlockSlotResponse:
        """Add a slot."""
        material = await self._material(request.source)
        slot = await self._vault.add_slot(call.caller, material, label=_label(request.source), call_id=call.request_id)
        call.facts["slot_id"] = slot.id
        return pb.AddUnlockSlotResponse(slot=_slot(slot))

    async def remove_unlock_slot(self, request: pb.RemoveUnlockSlotRequest, call: Call) -> pb.RemoveUnlockSlotResponse:
        """Remove a slot."""
        await self._vault.remove_slot(call.caller, request.slot_id, call_id=call.request_id)
        return pb.RemoveUnlockSlotResponse()

    async def rekey_unlock_slot(self, request: pb.RekeyUnlockSlotRequest, call: Call) -> pb.RekeyUnlockSlotResponse:
        """Put a new slot in the place of one."""
        material = await self._material(request.source)
        slot = await self._vault.rekey_slot(
            call.caller, request.slot_id, material, label=_label(request.source), call_id=call.request_id
        )
        call.facts["slot_id"] = slot.id
        return pb.RekeyUnlockSlotResponse(slot=_slot(slot))

    async def _unseal_by_sources(self, call: Call) -> str:
        materials = await asyncio.to_thread(self._sources.materials)
        try:
            return await self._vault.unseal(call.caller, materials, call_id=call.request_id)
        except UnlockRefused as error:
            raise UnlockRefused("; ".join([str(error), *self._sources.problems()])) from error

    async def _material(self, source: pb.UnlockSource) -> Material:
        match source.WhichOneof("source"):
            case "passphrase":
                return _passphrase(source.passphrase)
            case "key_file":
                return await asyncio.to_thread(self._sources.read_key_file, source.key_file)
            case "systemd_credential":
                return await asyncio.to_thread(self._sources.read_credential, source.systemd_credential)
            case _:
                raise InvalidField("source", "set one of passphrase, key_file and systemd_credential")


def _passphrase(text: str) -> Material:
    return Material(SlotKind.PASSPHRASE, text.encode(), "the passphrase")


def _label(source: pb.UnlockSource) -> str:
    if len(source.label) > MAX_LABEL_CHARACTERS or not source.label.isprintable():
        raise InvalidField("source.label", f"at most {MAX_LABEL_CHARACTERS} printable characters are allowed")
    return source.label


def _slot(slot: Slot) -> pb.UnlockSlot:
    derivation = f"PBKDF2-HMAC-SHA256, {slot.iterations} iterations" if slot.kind in PASSPHRASES else "HKDF-SHA256"
    return pb.UnlockSlot(
        slot_id=slot.id,
        kind=_KINDS[slot.kind],
        label=slot.label,
        create_time=timestamp(slot.create_time),
        derivation=derivation,
    )
