from __future__ import annotations

import pytest

from ctl.fake_daemon import FakeDaemon
from ctl.fake_seal import PASSPHRASE
from ctl.running import Ctl


def test_seal_asks_first(ctl: Ctl, daemon: FakeDaemon) -> None:
    """Sealing takes every secret away, so it takes a yes."""
    assert ctl("seal").exit_code == 2
    assert not daemon.seal.is_sealed
    assert ctl("seal", "--yes").exit_code == 0
    assert daemon.seal.is_sealed


def test_unseal_by_a_passphrase(ctl: Ctl, daemon: FakeDaemon) -> None:
    """The passphrase comes from a prompt that shows nothing, from a file, or it is the daemon that has a source."""
    daemon.seal.is_sealed = True
    terminal = ctl.at_terminal("unseal")
    terminal.read_until("Passphrase:")
    terminal.type(PASSPHRASE + "\n")
    assert terminal.finish() == 0
    assert PASSPHRASE not in terminal.output
    assert ctl("unseal", "--passphrase-file", "-", stdin=PASSPHRASE + "\n").stdout == "open, by slot 00000001\n"
    assert ctl("unseal", "--own-sources").exit_code == 0
    assert daemon.seal.unseals == [PASSPHRASE, PASSPHRASE, ""]


def test_unseal_refused(ctl: Ctl) -> None:
    """A wrong passphrase is exit code 1, and is not repeated; nobody to ask is a usage error; so are both ways at once."""
    result = ctl("unseal", "--passphrase-file", "-", stdin="wrong passphrase\n")
    assert result.exit_code == 1
    assert "wrong passphrase" not in result.stderr
    assert ctl("unseal", "--passphrase-file", "-", stdin="\n").exit_code == 1
    assert ctl("unseal").exit_code == 2
    assert ctl("unseal", "--own-sources", "--passphrase-file", "-", stdin="x").exit_code == 2


def test_slots_are_listed_with_the_seals_state(ctl: Ctl, daemon: FakeDaemon) -> None:
    """What can open the secrets, and whether they are."""
    lines = ctl("slots", "list").stdout.splitlines()
    assert lines[1].split()[:4] == ["00000001", "key", "file", "first"]
    assert lines[2] == "open, by slot 00000001; 7 secrets"
    daemon.seal.is_sealed = True
    assert "sealed: somebody sealed them" in ctl("slots", "list").stdout
    assert ctl.json("slots", "list")["status"]["sealed"] is True


@pytest.mark.parametrize(
    ("arguments", "kind", "value"),
    [
        (("--passphrase-file", "-"), "passphrase", PASSPHRASE),
        (("--key-file", "/etc/vestry/k"), "key_file", "/etc/vestry/k"),
        (("--systemd-credential", "unlock"), "systemd_credential", "unlock"),
    ],
)
def test_slots_are_added_and_replaced(
    ctl: Ctl, daemon: FakeDaemon, arguments: tuple[str, ...], kind: str, value: str
) -> None:
    """Each kind of source, with a label."""
    result = ctl("slots", "add", *arguments, "--label", "mine", stdin=PASSPHRASE)
    assert result.stdout == "slot 00000002 opens the secrets too\n"
    source = daemon.seal.sources[-1]
    assert (source.WhichOneof("source"), getattr(source, kind), source.label) == (kind, value, "mine")
    result = ctl("slots", "rekey", "00000001", *arguments, stdin=PASSPHRASE)
    assert result.stdout == "slot 00000003 is in the place of 00000001\n"


def test_a_slots_passphrase_is_asked_for_twice(ctl: Ctl, daemon: FakeDaemon) -> None:
    """--passphrase asks, without showing it."""
    terminal = ctl.at_terminal("slots", "add", "--passphrase")
    terminal.read_until("Passphrase:")
    terminal.type(PASSPHRASE + "\n")
    terminal.read_until("Repeat for confirmation:")
    terminal.type(PASSPHRASE + "\n")
    assert terminal.finish() == 0
    assert daemon.seal.sources[-1].passphrase == PASSPHRASE
    assert PASSPHRASE not in terminal.output


def test_a_slot_has_one_source(ctl: Ctl) -> None:
    """None, or two, is a usage error."""
    assert ctl("slots", "add").exit_code == 2
    assert ctl("slots", "add", "--passphrase", "--key-file", "/k").exit_code == 2


def test_removing_a_slot(ctl: Ctl, daemon: FakeDaemon) -> None:
    """It asks; the last one stays, as the daemon says."""
    assert ctl("slots", "remove", "00000001").exit_code == 2
    result = ctl("slots", "remove", "00000001", "--yes")
    assert (result.exit_code, result.stderr) == (1, "vestryctl: the last slot can't be removed\n")
    ctl("slots", "add", "--key-file", "/k")
    assert ctl("slots", "remove", "00000001", "--yes").exit_code == 0
    assert [slot.slot_id for slot in daemon.seal.slots] == ["00000002"]
