"""What is done to a daemon that dies of it: each operation is called with 1, 2, 3, …, and says what the n-th changes."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from e2e.daemon import PATIENCE_SECONDS, until
from e2e.mortal import Mortal, SecretState, State
from vestry.v1 import access_pb2, seal_pb2, secrets_pb2, tokens_pb2

ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}
FILE_RULE, RPC_RULE = "by-file", "by-rpc"
BULK = 60  # more versions than one commit of the re-wrapping takes

Call = Callable[[Mortal, int], object]
Change = Callable[[State, int], None]


@dataclass(frozen=True)
class Operation:
    """A call, what it changes of the state, and the record that the audit log has of it: action and some facts.

    `between` is a state that a crash may leave. What `repeats` may be asked for again at any time, and is done once.
    """

    call: Call
    change: Change
    record: Callable[[int], tuple[str, Mapping[str, Any]]] | None
    between: Change | None = None
    repeats: bool = True

    def outcomes(self, state: State, number: int) -> list[State]:
        """Return what the n-th call may have come to, all of it last."""
        changes = [change for change in (self.between, self.change) if change]
        return [changed(state, change, number) for change in changes]


@dataclass(frozen=True)
class Visit:
    """How a failpoint is visited: by which operation, at which time, and what comes before."""

    operation: Operation
    times: int = 2
    first: Operation | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    is_aged: bool = False  # the audit log is so old that the daemon begins a new file of it
    is_untrue: bool = False  # the daemon makes slots that open to another key


def changed(state: State, change: Change, number: int) -> State:
    """Return a state after a change."""
    after = deepcopy(state)
    change(after, number)
    return after


def request_id(number: int) -> str:
    """Return the request id of the n-th call."""
    return str(uuid.UUID(int=number))


def value(what: str, number: int) -> bytes:
    """Return a value that no other call puts."""
    return f"{what} {number}".encode() + b"\x00\xff" * 20


def slot_key(label: str) -> bytes:
    """Return the key that opens the slot with a label."""
    return hashlib.sha256(label.encode()).digest()


def key_file(directory: Path, label: str) -> seal_pb2.UnlockSource:
    """Write the key file of a slot, and return what makes the slot."""
    path = directory / label
    path.touch(mode=0o600)
    path.write_bytes(slot_key(label))
    return seal_pb2.UnlockSource(key_file=str(path), label=label)


def slot_id(daemon: Mortal, label: str) -> str:
    """Return the id of the slot with a label."""
    slots = daemon.seals.ListUnlockSlots(seal_pb2.ListUnlockSlotsRequest(), timeout=PATIENCE_SECONDS).slots
    return next(one.slot_id for one in slots if one.label == label)


def add_slot(daemon: Mortal, label: str) -> None:
    """Add a slot that a key file opens."""
    request = seal_pb2.AddUnlockSlotRequest(source=key_file(daemon.keys, label))
    daemon.seals.AddUnlockSlot(request, timeout=PATIENCE_SECONDS)


def policy(description: str) -> dict[str, object]:
    """Return a policy under which administrators may do everything."""
    rule = {"subjects": ["user:nobody"], "actions": ["secrets.get"], "resources": ["**"], "description": description}
    return {"rules": {"administrators": ADMINISTRATORS, FILE_RULE: rule}}


# Secrets.


def _put(daemon: Mortal, number: int) -> object:
    request = secrets_pb2.PutSecretRequest(name="key", value=value("put", number), request_id=request_id(number))
    return daemon.secrets.PutSecret(request, timeout=PATIENCE_SECONDS)


def _create(daemon: Mortal, number: int) -> object:
    request = secrets_pb2.PutSecretRequest(
        name=f"new{number}", value=value("create", number), request_id=request_id(number)
    )
    return daemon.secrets.PutSecret(request, timeout=PATIENCE_SECONDS)


def _created(state: State, number: int) -> None:
    state.secrets[f"new{number}"] = SecretState({1: value("create", number)}, current=1)


def _update(daemon: Mortal, number: int) -> object:
    settings = secrets_pb2.SecretSettings(description=f"update {number}")
    return daemon.secrets.UpdateSecret(
        secrets_pb2.UpdateSecretRequest(name="key", settings=settings), timeout=PATIENCE_SECONDS
    )


def _updated(state: State, number: int) -> None:
    state.secrets["key"].description = f"update {number}"


def _rotate(daemon: Mortal, number: int) -> object:
    request = secrets_pb2.RotateSecretRequest(
        name="key", value=value("rotate", number), grace=Duration(seconds=3600), request_id=request_id(number)
    )
    return daemon.secrets.RotateSecret(request, timeout=PATIENCE_SECONDS)


def _delete(daemon: Mortal, number: int) -> object:
    request = secrets_pb2.DeleteSecretRequest(name=f"del{number}")
    return daemon.secrets.DeleteSecret(request, timeout=PATIENCE_SECONDS)


def _deleted(state: State, number: int) -> None:
    state.secrets[f"del{number}"].is_deleted = True


def _undeleted(state: State, number: int) -> None:
    state.secrets[f"gone{number}"].is_deleted = False


def _destroy(daemon: Mortal, number: int) -> object:
    request = secrets_pb2.DestroySecretVersionRequest(name="old", version=number)
    return daemon.secrets.DestroySecretVersion(request, timeout=PATIENCE_SECONDS)


def _destroyed(state: State, number: int) -> None:
    state.secrets["old"].versions[number] = None


def _import(daemon: Mortal, number: int) -> object:
    names = {f"imported{number}": value("import", number), "key": value("import", number), "same": b"same"}
    return _take_in(daemon, names)


def _imported(state: State, number: int) -> None:
    state.secrets[f"imported{number}"] = SecretState({1: value("import", number)}, current=1)
    state.secrets["key"].add(value("import", number))


def _take_in(daemon: Mortal, values: Mapping[str, bytes]) -> object:
    items = [secrets_pb2.ImportedSecret(name=name, value=one) for name, one in values.items()]
    request = secrets_pb2.ImportSecretsRequest(secrets=items, conflict=secrets_pb2.IMPORT_CONFLICT_REPLACE)
    return daemon.secrets.ImportSecrets(request, timeout=PATIENCE_SECONDS)


def _bulk_names(half: int) -> list[str]:
    return [f"bulk{number}" for number in range(half, BULK, 2)]


def _import_bulk(daemon: Mortal, number: int) -> None:
    for half in range(2):
        _take_in(daemon, {name: name.encode() for name in _bulk_names(half)})


def _imported_bulk(state: State, number: int) -> None:
    for half in range(2):
        state.secrets |= {name: SecretState({1: name.encode()}, current=1) for name in _bulk_names(half)}


def _told(action: str, **facts: Any) -> Callable[[int], tuple[str, Mapping[str, Any]]]:
    return lambda _number: (action, facts)


PUT = Operation(
    _put,
    lambda state, number: state.secrets["key"].add(value("put", number)),
    lambda number: ("secrets.put", {"version": number + 2}),
)
CREATE = Operation(_create, _created, _told("secrets.put", version=1))
UPDATE = Operation(_update, _updated, _told("secrets.update"))
ROTATE = Operation(
    _rotate,
    lambda state, number: state.secrets["key"].add(value("rotate", number)),
    lambda number: ("secrets.rotate", {"version": number + 2}),
)
DELETE = Operation(_delete, _deleted, _told("secrets.delete"))
UNDELETE = Operation(lambda daemon, number: daemon.undelete(f"gone{number}"), _undeleted, _told("secrets.undelete"))
DESTROY = Operation(_destroy, _destroyed, lambda number: ("secrets.destroy", {"version": number}))
IMPORT = Operation(_import, _imported, lambda number: ("secrets.import", {"version": number + 2, "changed": True}))
IMPORT_BULK = Operation(_import_bulk, _imported_bulk, None)


# Keyring and slots.


def _rotate_keyring(daemon: Mortal, number: int) -> None:
    daemon.secrets.RotateKeyring(secrets_pb2.RotateKeyringRequest(), timeout=PATIENCE_SECONDS)
    daemon.observe()


def _rotated_keyring(state: State, number: int) -> None:
    state.terms = dict.fromkeys(state.terms, "retired") | {number + 1: "active"}


def _began_term(state: State, number: int) -> None:
    state.terms[number + 1] = "pending"


def _added(label: str) -> Change:
    return lambda state, number: state.slots.add(label.format(number))


def _remove_slot(daemon: Mortal, number: int) -> object:
    found = slot_id(daemon, f"spare{number}")
    return daemon.seals.RemoveUnlockSlot(seal_pb2.RemoveUnlockSlotRequest(slot_id=found), timeout=PATIENCE_SECONDS)


def _rekey_slot(daemon: Mortal, number: int) -> object:
    request = seal_pb2.RekeyUnlockSlotRequest(
        slot_id=slot_id(daemon, f"spare{number}"), source=key_file(daemon.keys, f"fresh{number}")
    )
    return daemon.seals.RekeyUnlockSlot(request, timeout=PATIENCE_SECONDS)


def _rekeyed(state: State, number: int) -> None:
    state.slots.remove(f"spare{number}")
    state.slots.add(f"fresh{number}")


ROTATE_KEYRING = Operation(
    _rotate_keyring, _rotated_keyring, _told("keyring.rotate"), between=_began_term, repeats=False
)
ADD_SLOT = Operation(
    lambda daemon, number: add_slot(daemon, f"added{number}"),
    _added("added{}"),
    _told("keyring.slots", change="add"),
    repeats=False,
)
REMOVE_SLOT = Operation(
    _remove_slot,
    lambda state, number: state.slots.remove(f"spare{number}"),
    _told("keyring.slots", change="remove"),
    repeats=False,
)
REKEY_SLOT = Operation(
    _rekey_slot, _rekeyed, _told("keyring.slots", change="rekey"), between=_added("fresh{}"), repeats=False
)
ADD_UNTRUE_SLOT = Operation(
    lambda daemon, _number: add_slot(daemon, "untrue"),
    lambda _state, _number: None,
    _told("keyring.slots", change="add"),
    between=_added("untrue"),
    repeats=False,
)


# The policy, and tokens.


def _change_policy(daemon: Mortal, number: int) -> object:
    rule = {"subjects": ["user:nobody"], "actions": ["secrets.get"], "resources": ["**"], "description": f"{number}"}
    patch = json.dumps({"rules": {RPC_RULE: rule}}).encode()
    request = access_pb2.UpdatePolicyRequest(merge_patch=patch, request_id=request_id(number))
    return daemon.access.UpdatePolicy(request, timeout=PATIENCE_SECONDS)


def _changed_policy(rule: str) -> Change:
    def change(state: State, number: int) -> None:
        state.rules[rule] = f"{number}"

    return change


def _edit_policy(daemon: Mortal, number: int) -> None:
    daemon.save("access.json", policy(f"{number}"))

    def is_in_force() -> bool:
        found = daemon.access.GetPolicy(access_pb2.GetPolicyRequest(), timeout=PATIENCE_SECONDS)
        description: str = json.loads(found.document)["rules"][FILE_RULE]["description"]
        return description == f"{number}"

    until(is_in_force, "the file is in force")


def create_token(daemon: Mortal, what: str, **fields: Any) -> None:
    """Make a token for the user `what`, and keep it."""
    request = tokens_pb2.CreateTokenRequest(user=what, description=what, **fields)
    daemon.tokens[what] = daemon.token_service.CreateToken(request, timeout=PATIENCE_SECONDS).token


def _revoke_token(daemon: Mortal, number: int) -> object:
    request = tokens_pb2.RevokeTokenRequest(token_id=daemon.tokens[f"doomed{number}"])
    return daemon.token_service.RevokeToken(request, timeout=PATIENCE_SECONDS)


def _token(what: str, token_state: str) -> Change:
    def change(state: State, number: int) -> None:
        state.tokens[what.format(number)] = token_state

    return change


CHANGE_POLICY = Operation(_change_policy, _changed_policy(RPC_RULE), lambda number: ("access.update", {}))
EDIT_POLICY = Operation(_edit_policy, _changed_policy(FILE_RULE), _told("access.reload"))
CREATE_TOKEN = Operation(
    lambda daemon, number: create_token(daemon, f"new{number}"),
    _token("new{}", "TOKEN_STATE_ACTIVE"),
    lambda number: ("tokens.create", {"user": f"new{number}"}),
    repeats=False,
)
REVOKE_TOKEN = Operation(
    _revoke_token,
    _token("doomed{}", "TOKEN_STATE_REVOKED"),
    lambda number: ("tokens.revoke", {"user": f"doomed{number}"}),
)
USE_TOKEN = Operation(
    lambda daemon, number: daemon.whoami(daemon.tokens[f"once{number}"]),
    _token("once{}", "TOKEN_STATE_USED"),
    None,
    repeats=False,
)
