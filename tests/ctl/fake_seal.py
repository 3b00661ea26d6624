"""SealService in memory."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ctl.fake_config import Context
from ctl.fake_errors import abort
from vestry.v1 import seal_pb2, seal_pb2_grpc

PASSPHRASE = "correct horse battery"


@dataclass
class FakeSeal(seal_pb2_grpc.SealServiceServicer):
    """Keeps slots, and the sources that it was given."""

    is_sealed: bool = False
    slots: list[seal_pb2.UnlockSlot] = field(default_factory=list)
    sources: list[seal_pb2.UnlockSource] = field(default_factory=list)
    unseals: list[str] = field(default_factory=list)  # the passphrases, empty for the daemon's own sources

    def __post_init__(self) -> None:
        self._made = 0
        self._make(seal_pb2.UnlockSource(key_file="/etc/vestry/key", label="first"))

    def GetSealStatus(self, request: seal_pb2.GetSealStatusRequest, context: Context) -> seal_pb2.GetSealStatusResponse:
        """Tell whether it is open."""
        if self.is_sealed:
            return seal_pb2.GetSealStatusResponse(sealed=True, problem="somebody sealed them")
        return seal_pb2.GetSealStatusResponse(slot_id=self.slots[0].slot_id, secrets=7)

    def Seal(self, request: seal_pb2.SealRequest, context: Context) -> seal_pb2.SealResponse:
        """Seal."""
        self.is_sealed = True
        return seal_pb2.SealResponse()

    def Unseal(self, request: seal_pb2.UnsealRequest, context: Context) -> seal_pb2.UnsealResponse:
        """Open, by PASSPHRASE or nothing."""
        self.unseals.append(request.passphrase)
        if request.passphrase not in {"", PASSPHRASE}:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, "UNLOCK_REFUSED", "the passphrase opens no slot")
        self.is_sealed = False
        return seal_pb2.UnsealResponse(slot_id=self.slots[0].slot_id)

    def ListUnlockSlots(
        self, request: seal_pb2.ListUnlockSlotsRequest, context: Context
    ) -> seal_pb2.ListUnlockSlotsResponse:
        """List the slots."""
        return seal_pb2.ListUnlockSlotsResponse(slots=self.slots)

    def AddUnlockSlot(self, request: seal_pb2.AddUnlockSlotRequest, context: Context) -> seal_pb2.AddUnlockSlotResponse:
        """Add a slot."""
        return seal_pb2.AddUnlockSlotResponse(slot=self._make(request.source))

    def RemoveUnlockSlot(
        self, request: seal_pb2.RemoveUnlockSlotRequest, context: Context
    ) -> seal_pb2.RemoveUnlockSlotResponse:
        """Remove a slot, but for the last."""
        if len(self.slots) == 1:
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, "LAST_SLOT", "the last slot can't be removed")
        self.slots = [slot for slot in self.slots if slot.slot_id != request.slot_id]
        return seal_pb2.RemoveUnlockSlotResponse()

    def RekeyUnlockSlot(
        self, request: seal_pb2.RekeyUnlockSlotRequest, context: Context
    ) -> seal_pb2.RekeyUnlockSlotResponse:
        """Replace a slot."""
        slot = self._make(request.source)
        self.slots = [each for each in self.slots if each.slot_id != request.slot_id]
        return seal_pb2.RekeyUnlockSlotResponse(slot=slot)

    def _make(self, source: seal_pb2.UnlockSource) -> seal_pb2.UnlockSlot:
        kinds = {
            "passphrase": seal_pb2.UNLOCK_KIND_PASSPHRASE,
            "key_file": seal_pb2.UNLOCK_KIND_KEY_FILE,
            "systemd_credential": seal_pb2.UNLOCK_KIND_SYSTEMD_CREDENTIAL,
        }
        self._made += 1
        self.sources.append(source)
        slot = seal_pb2.UnlockSlot(
            slot_id=f"{self._made:08x}",
            kind=kinds[source.WhichOneof("source") or ""],
            label=source.label,
            create_time=Timestamp(seconds=1_790_000_000),
        )
        self.slots.append(slot)
        return slot
