"""What is done to a daemon that dies of it: each operation is called with 1, 2, 3, …, and says what the n-th changes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration

from e2e.daemon import PATIENCE_SECONDS
from e2e.mortal import Mortal, SecretState, State
from vestry.v1 import secrets_pb2

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


def told(action: str, **facts: Any) -> Callable[[int], tuple[str, Mapping[str, Any]]]:
    return lambda _number: (action, facts)


PUT = Operation(
    _put,
    lambda state, number: state.secrets["key"].add(value("put", number)),
    lambda number: ("secrets.put", {"version": number + 2}),
)
CREATE = Operation(_create, _created, told("secrets.put", version=1))
UPDATE = Operation(_update, _updated, told("secrets.update"))
ROTATE = Operation(
    _rotate,
    lambda state, number: state.secrets["key"].add(value("rotate", number)),
    lambda number: ("secrets.rotate", {"version": number + 2}),
)
DELETE = Operation(_delete, _deleted, told("secrets.delete"))
UNDELETE = Operation(lambda daemon, number: daemon.undelete(f"gone{number}"), _undeleted, told("secrets.undelete"))
DESTROY = Operation(_destroy, _destroyed, lambda number: ("secrets.destroy", {"version": number}))
IMPORT = Operation(_import, _imported, lambda number: ("secrets.import", {"version": number + 2, "changed": True}))
IMPORT_BULK = Operation(_import_bulk, _imported_bulk, None)
