"""The daemon dies at every failpoint that there is, and starts again: nothing is lost, and nothing is half-done."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e import crash_authority as grants
from e2e import crash_operations as does
from e2e.crash_authority import add_slot, create_token, policy, slot_key
from e2e.crash_operations import Operation, Visit, value
from e2e.daemon import PATIENCE_SECONDS, VESTRYD
from e2e.mortal import Mortal, State
from engine import FakeClock
from vestry.audit import Record, decode, load_public_key, load_verification_key, open_log, verify
from vestry.errors import Unavailable, from_rpc_error
from vestry.v1 import secrets_pb2
from vestryd.domain.audit import Entry
from vestryd.domain.failpoints import NAMES
from vestryd.domain.sealing.slots import Slot, open_slot
from vestryd.domain.secrets.unlock import SLOTS
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.sqlite import SqliteStore

pytestmark = pytest.mark.e2e

UNTRUE = (sys.executable, str(Path(__file__).with_name("untrue.py")))
MAX_CALLS = 90  # a secret keeps 100 versions
SIGN_OFTEN = {"audit.checkpoint_seconds": 0.05}

FOUNDING = ("audit.founding", "keyring.found")  # what a daemon does once, before anybody can call it
VISITS: Mapping[str, Sequence[Visit]] = {  # what a failpoint's name begins with -> how it is visited
    "access.policy": (Visit(grants.CHANGE_POLICY), Visit(grants.EDIT_POLICY)),
    "audit.checkpoint": (Visit(does.PUT, settings=SIGN_OFTEN),),
    "audit.key": (Visit(does.PUT, times=1),),
    "audit.records": (Visit(does.PUT, times=5),),
    "audit.segment": (Visit(does.PUT, times=1, is_aged=True),),
    "keyring.retire": (Visit(grants.ROTATE_KEYRING),),
    "keyring.rotate": (Visit(grants.ROTATE_KEYRING),),
    "seal.slot.add": (Visit(grants.ADD_SLOT), Visit(grants.REKEY_SLOT)),
    "seal.slot.remove": (Visit(grants.REMOVE_SLOT), Visit(grants.REKEY_SLOT)),
    "seal.slot.undo": (Visit(grants.ADD_UNTRUE_SLOT, times=1, is_untrue=True),),
    "secrets.delete": (Visit(does.DELETE),),
    "secrets.destroy": (Visit(does.DESTROY),),
    "secrets.import": (Visit(does.IMPORT),),
    "secrets.put": (Visit(does.PUT), Visit(does.CREATE)),
    "secrets.rewrap": (Visit(grants.ROTATE_KEYRING, first=does.IMPORT_BULK),),
    "secrets.rotate": (Visit(does.ROTATE),),
    "secrets.undelete": (Visit(does.UNDELETE),),
    "secrets.update": (Visit(does.UPDATE),),
    "tokens.create": (Visit(grants.CREATE_TOKEN),),
    "tokens.revoke": (Visit(grants.REVOKE_TOKEN),),
    "tokens.use": (Visit(grants.USE_TOKEN),),
}


@dataclass(frozen=True)
class Prototype:
    """A state on disk that each test begins with a copy of, and what can be seen of it."""

    place: Path
    state: State
    tokens: Mapping[str, str]

    def copy_to(self, daemon: Mortal) -> None:
        shutil.copytree(self.place / "state", daemon.state)
        shutil.copytree(self.place / "config", daemon.tree)
        daemon.tokens.update(self.tokens)


MakeMortal = Callable[..., Mortal]


@pytest.fixture(scope="session")
def prototype(tmp_path_factory: pytest.TempPathFactory) -> Prototype:
    """Secrets, tokens, slots and a policy for every operation to work on; made once."""
    place = tmp_path_factory.mktemp("p")
    daemon = Mortal(place)
    daemon.save("access.json", policy("0"))
    try:
        daemon.start()
        _furnish(daemon)
        state = daemon.observe()
        daemon.stop()
    finally:
        daemon.close()
    for name in ("gone1", "gone2"):
        state.secrets[name].versions[1] = name.encode()
    return Prototype(place, state, daemon.tokens)


@pytest.fixture
def make_mortal(tmp_path: Path) -> Iterator[MakeMortal]:
    """Makes one daemon; it is ended, and its log shown if the test fails."""
    made: list[Mortal] = []

    def make(settings: Mapping[str, object] | None = None) -> Mortal:
        made.append(Mortal(tmp_path / "d", dict(settings or {})))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
        sys.stdout.write(daemon.log())
        assert "Traceback" not in daemon.log()


def _visits() -> Iterator[Any]:
    """Yield each failpoint with each way to it; a name that has none is a test that fails."""
    for name in sorted(NAMES):
        if not name.startswith(FOUNDING):
            prefix = next((prefix for prefix in VISITS if name.startswith(f"{prefix}.")), "")
            for number, visit in enumerate(VISITS.get(prefix, (None,)), start=1):
                yield pytest.param(name, visit, id=f"{name}-{number}")


@pytest.mark.parametrize(("name", "visit"), [*_visits()])
def test_a_crash_leaves_all_of_an_operation_or_nothing(
    name: str, visit: Visit | None, prototype: Prototype, make_mortal: MakeMortal
) -> None:
    """What was acknowledged is there, what was under way is there whole or not at all, and doing it again does it once."""
    assert visit, f"{name} is in failpoints.NAMES, and VISITS doesn't say how to get there"
    operation = visit.operation
    daemon = make_mortal(visit.settings)
    prototype.copy_to(daemon)
    if visit.is_aged:
        asyncio.run(_age(daemon))
    acknowledged, state = _die(daemon, name, visit, prototype.state)
    allowed = [state, *operation.outcomes(state, acknowledged + 1)]

    daemon.start()
    seen = daemon.observe()
    assert seen in [one.seen() for one in allowed]
    wanted = allowed[-1]
    if operation.repeats or (seen == state.seen() and not visit.is_untrue):
        operation.call(daemon, acknowledged + 1)
        seen = daemon.observe()
        assert seen == wanted.seen()
    _check_values(daemon, wanted)
    _check_tokens(daemon, seen)
    daemon.stop()
    assert list(seen.terms.values()).count("active") == 1
    assert asyncio.run(_opened(daemon)) == seen.slots - {"untrue"}
    _check_audit(daemon, operation, acknowledged)


@pytest.mark.parametrize("name", [name for name in sorted(NAMES) if name.startswith(FOUNDING)])
def test_a_crash_while_founding_founds_once(name: str, make_mortal: MakeMortal) -> None:
    """The next start founds what isn't there, and takes what is; nothing is sealed by two roots, nothing stays closed."""
    daemon = make_mortal()
    daemon.tree.mkdir()
    assert not daemon.start_to_die(name)
    unlock_key = daemon.state / "unlock.key"
    before = unlock_key.read_bytes() if unlock_key.exists() else b""
    for number in range(1, 3):
        daemon.start()
        assert daemon.observe().terms == {1: "active"}
        assert len(daemon.observe().slots) == 1
        daemon.secrets.PutSecret(
            secrets_pb2.PutSecretRequest(name="key", value=value("put", number)), timeout=PATIENCE_SECONDS
        )
        assert daemon.reveal("key", 1) == value("put", 1)
        daemon.kill()
    assert unlock_key.read_bytes().startswith(before)
    assert [one.facts["version"] for one in _records(daemon) if one.action == "secrets.put"] == [1, 2]


def _furnish(daemon: Mortal) -> None:
    """Give each operation something to work on, twice."""
    values = {"key": 2, "old": 4, "del1": 1, "del2": 1, "gone1": 1, "gone2": 1, "same": 1}  # name -> versions
    for name, versions in values.items():
        for number in range(versions):
            content = name.encode() + b"\x00" * number
            daemon.secrets.PutSecret(secrets_pb2.PutSecretRequest(name=name, value=content), timeout=PATIENCE_SECONDS)
    for name in ("gone1", "gone2"):
        daemon.secrets.DeleteSecret(secrets_pb2.DeleteSecretRequest(name=name), timeout=PATIENCE_SECONDS)
    for name in ("spare1", "spare2"):
        add_slot(daemon, name)
    for name in ("kept", "doomed1", "doomed2"):
        create_token(daemon, name)
    for name in ("once1", "once2"):
        create_token(daemon, name, once=True)


async def _age(daemon: Mortal) -> None:
    """Put an audit log in the place of the daemon's whose only record is years old."""
    store = await SqliteStore.open(daemon.store)
    await store.close()
    directory = daemon.state / "audit"
    shutil.rmtree(directory)
    log = await FileAuditLog.open(directory, store.store_id, clock=FakeClock(datetime(2020, 1, 1, tzinfo=UTC)))
    await log.record(Entry("somebody", "something", "somewhere"))
    await log.close()


def _die(daemon: Mortal, name: str, visit: Visit, state: State) -> tuple[int, State]:
    """Let it die; return how many calls it acknowledged, and the state that they made."""
    acknowledged = 0
    if daemon.start_to_die(f"{name}:{visit.times}", UNTRUE if visit.is_untrue else VESTRYD):
        if visit.first:
            visit.first.call(daemon, 0)
            state = visit.first.outcomes(state, 0)[-1]
        while _is_done(daemon, visit.operation, acknowledged + 1):
            acknowledged += 1
            assert acknowledged < MAX_CALLS, f"it never came to {name}"
            state = visit.operation.outcomes(state, acknowledged)[-1]
        assert daemon.wait() == -signal.SIGKILL
    return acknowledged, state


def _is_done(daemon: Mortal, operation: Operation, number: int) -> bool:
    """Tell whether a call was acknowledged before the daemon died."""
    try:
        operation.call(daemon, number)
    except grpc.RpcError as error:
        if not isinstance(from_rpc_error(error), Unavailable):
            raise
        return False
    return True


def _check_values(daemon: Mortal, wanted: State) -> None:
    """Check what deleted secrets hold, by undeleting them."""
    for name, secret in wanted.secrets.items():
        if secret.is_deleted:
            daemon.undelete(name)
            for version, content in secret.versions.items():
                assert daemon.reveal(name, version) == content


def _check_tokens(daemon: Mortal, seen: State) -> None:
    """Check that the tokens that are good work, and that no other does."""
    for what, text in daemon.tokens.items():
        if what.startswith("once") and seen.tokens[what] == "TOKEN_STATE_ACTIVE":
            continue
        try:
            name = daemon.whoami(text)
        except grpc.RpcError:
            name = ""
        assert name == (f"user:{what}" if seen.tokens[what] == "TOKEN_STATE_ACTIVE" else "")


async def _opened(daemon: Mortal) -> set[str]:
    """Return the labels of the slots that open, each with its own key; all must open to the same."""
    store = await SqliteStore.open(daemon.store)
    try:
        slots = [Slot.decode(entry.value) for entry in (await store.read(SLOTS)).entries]
    finally:
        await store.close()
    default = (daemon.state / "unlock.key").read_bytes()
    keys = {
        slot.label: open_slot(
            slot, store.store_id, default if slot.label.startswith("key file ") else slot_key(slot.label)
        )
        for slot in slots
    }
    roots = {key for label, key in keys.items() if label != "untrue"}
    assert len(roots) == 1
    return keys.keys() - {"untrue"}


def _records(daemon: Mortal) -> list[Record]:
    """Verify the audit log with all its keys, and return its records."""
    directory = daemon.state / "audit"
    checkpoints, segments = open_log(directory)
    verdict = verify(
        segments,
        checkpoints=checkpoints,
        public_key=load_public_key((directory / "signing.pub").read_bytes()),
        store_id=asyncio.run(_store_id(daemon)),
        verification_key=load_verification_key((directory / "verification.key").read_bytes()),
    )
    assert verdict.is_intact, verdict.problem
    return [decode(line) for segment in open_log(directory)[1] for line in segment.lines]


async def _store_id(daemon: Mortal) -> str:
    store = await SqliteStore.open(daemon.store)
    await store.close()
    return store.store_id


def _check_audit(daemon: Mortal, operation: Operation, acknowledged: int) -> None:
    """Check that the log is whole, and tells of each call that was acknowledged."""
    records = _records(daemon)
    if operation.record is None:
        return
    for number in range(1, acknowledged + 1):
        action, facts = operation.record(number)
        assert [one for one in records if one.action == action and facts.items() <= dict(one.facts).items()]
