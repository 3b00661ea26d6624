"""What is done with the keyring, its slots, the policy and tokens, to a daemon that dies of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from e2e.crash_operations import Change, Operation, request_id, told
from e2e.daemon import PATIENCE_SECONDS, until
from e2e.mortal import Mortal, State
from vestry.v1 import access_pb2, seal_pb2, secrets_pb2, tokens_pb2

ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}
FILE_RULE, RPC_RULE = "by-file", "by-rpc"


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
    _rotate_keyring, _rotated_keyring, told("keyring.rotate"), between=_began_term, repeats=False
)
ADD_SLOT = Operation(
    lambda daemon, number: add_slot(daemon, f"added{number}"),
    _added("added{}"),
    told("keyring.slots", change="add"),
    repeats=False,
)
REMOVE_SLOT = Operation(
    _remove_slot,
    lambda state, number: state.slots.remove(f"spare{number}"),
    told("keyring.slots", change="remove"),
    repeats=False,
)
REKEY_SLOT = Operation(
    _rekey_slot, _rekeyed, told("keyring.slots", change="rekey"), between=_added("fresh{}"), repeats=False
)
ADD_UNTRUE_SLOT = Operation(
    lambda daemon, _number: add_slot(daemon, "untrue"),
    lambda _state, _number: None,
    told("keyring.slots", change="add"),
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
EDIT_POLICY = Operation(_edit_policy, _changed_policy(FILE_RULE), told("access.reload"))
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
