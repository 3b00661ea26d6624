"""`vestryctl slots`: what can open the secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vestry.v1 import seal_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.failures import Failure
from vestryctl.options import Group, Utf8, yes_option
from vestryctl.passphrases import passphrase, passphrase_file_option
from vestryctl.wire import as_value, enum_name

_SOURCES = (
    click.option(
        "--passphrase", "by_passphrase", is_flag=True, help="A passphrase of 12 characters or more; asked for twice."
    ),
    passphrase_file_option,
    click.option(
        "--key-file",
        type=Utf8(),
        metavar="PATH",
        help="A file on the daemon's host: 32 random bytes or more, for its user only.",
    ),
    click.option("--systemd-credential", type=Utf8(), metavar="NAME", help="A credential of the daemon's unit."),
    click.option("--label", type=Utf8(), default="", metavar="TEXT", help="What people call the slot."),
)

slot_argument = click.argument("slot_id", type=Utf8(), metavar="SLOT")


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of which `_source` makes sense."""
    for option in reversed(_SOURCES):
        command = option(command)
    return command


@click.group(cls=Group)
def slots() -> None:
    """Look after what can open the secrets.

    The key of all secrets is kept in slots, each opened by another source: a passphrase, a key file, a systemd credential.
    Any one of them is enough.
    """


@slots.command("list", examples=["vestryctl slots list"])
@pass_app
def list_(app: App) -> None:
    """List the slots, and tell whether the secrets are open."""
    status = app.daemon.call(app.daemon.seal.GetSealStatus, seal_pb2.GetSealStatusRequest())
    answer = app.daemon.call(app.daemon.seal.ListUnlockSlots, seal_pb2.ListUnlockSlotsRequest())

    def print_slots() -> None:
        columns = ("SLOT", "KIND", "LABEL", "CREATED", "DERIVATION")
        app.out.table(columns, (_row(slot) for slot in answer.slots), fold=("LABEL", "DERIVATION"))
        if status.sealed:
            app.out.line(f"sealed: {status.problem}", "bold red")
        else:
            app.out.line(f"open, by slot {status.slot_id}; {status.secrets} secrets")

    app.out.show({"status": as_value(status), **as_value(answer)}, print_slots)


@slots.command(
    examples=[
        "vestryctl slots add --passphrase --label 'in the safe'",
        "vestryctl slots add --key-file /etc/vestry/unlock.key",
        "vestryctl slots add --systemd-credential vestry.unlock-key",
    ]
)
@source_options
@pass_app
def add(app: App, /, **source: Any) -> None:
    """Add a slot. The daemon opens it once before this is done."""
    request = seal_pb2.AddUnlockSlotRequest(source=_source(**source))
    answer = app.daemon.call(app.daemon.seal.AddUnlockSlot, request)
    app.out.show(as_value(answer), lambda: app.out.line(f"slot {answer.slot.slot_id} opens the secrets too"))


@slots.command(examples=["vestryctl slots remove 1f2e3d4c"])
@slot_argument
@yes_option
@pass_app
def remove(app: App, slot_id: str, *, yes: bool) -> None:
    """Remove a slot, but for the last one. Asks first."""
    if not yes and app.confirm(f"Remove slot {slot_id}? What opened it won't open the secrets any more") != "y":
        raise Failure("nothing was changed")
    answer = app.daemon.call(app.daemon.seal.RemoveUnlockSlot, seal_pb2.RemoveUnlockSlotRequest(slot_id=slot_id))
    app.out.show(as_value(answer), lambda: app.out.line(f"slot {slot_id} is gone"))


@slots.command(examples=["vestryctl slots rekey 1f2e3d4c --passphrase"])
@slot_argument
@source_options
@pass_app
def rekey(app: App, /, slot_id: str, **source: Any) -> None:
    """Put a new slot in the place of one.

    That is how a passphrase is changed. The daemon opens the new one before the old one goes.
    """
    request = seal_pb2.RekeyUnlockSlotRequest(slot_id=slot_id, source=_source(**source))
    answer = app.daemon.call(app.daemon.seal.RekeyUnlockSlot, request)
    note = f"slot {answer.slot.slot_id} is in the place of {slot_id}"
    app.out.show(as_value(answer), lambda: app.out.line(note))


def _source(
    *,
    by_passphrase: bool,
    passphrase_file: str | None,
    key_file: str | None,
    systemd_credential: str | None,
    label: str,
) -> seal_pb2.UnlockSource:
    is_passphrase = by_passphrase or passphrase_file is not None
    if [is_passphrase, key_file is not None, systemd_credential is not None].count(True) != 1:
        raise click.UsageError("give one of --passphrase, --passphrase-file, --key-file and --systemd-credential.")
    if key_file is not None:
        return seal_pb2.UnlockSource(key_file=key_file, label=label)
    if systemd_credential is not None:
        return seal_pb2.UnlockSource(systemd_credential=systemd_credential, label=label)
    return seal_pb2.UnlockSource(passphrase=passphrase(passphrase_file, confirm=True), label=label)


def _row(slot: seal_pb2.UnlockSlot) -> tuple[str, ...]:
    kind = enum_name(seal_pb2.UnlockKind.DESCRIPTOR, slot.kind) or text.NOTHING
    return (
        slot.slot_id,
        kind.replace("_", " "),
        slot.label or text.NOTHING,
        text.local_time(slot.create_time),
        slot.derivation or text.NOTHING,
    )
