"""A daemon that dies at a failpoint, and everything that can be seen of its state."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from e2e.daemon import PATIENCE_SECONDS, VESTRYD, Daemon, until
from vestry import connect
from vestry.v1 import (
    access_pb2,
    access_pb2_grpc,
    admin_pb2,
    seal_pb2,
    seal_pb2_grpc,
    secrets_pb2,
    secrets_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from vestryd.domain.failpoints import VARIABLE

HIDDEN = b""  # stands for the value of a deleted secret
_TERMS = {
    secrets_pb2.KEYRING_TERM_STATE_PENDING: "pending",
    secrets_pb2.KEYRING_TERM_STATE_ACTIVE: "active",
    secrets_pb2.KEYRING_TERM_STATE_DECRYPT_ONLY: "decrypt-only",
    secrets_pb2.KEYRING_TERM_STATE_RETIRED: "retired",
}


@dataclass
class SecretState:
    """A secret: number -> value, None where it is destroyed; which versions its labels name, 0 for none."""

    versions: dict[int, bytes | None] = field(default_factory=dict)
    current: int = 0
    previous: int = 0
    description: str = ""
    is_deleted: bool = False

    def add(self, value: bytes) -> None:
        """Make a version, the current one."""
        number = max(self.versions, default=0) + 1
        self.versions[number] = value
        self.previous, self.current = self.current, number


@dataclass
class State:
    """What can be seen of a daemon: secrets by name, slots by label, the keyring's terms, rules, tokens by description."""

    secrets: dict[str, SecretState]
    slots: set[str]
    terms: dict[int, str]
    rules: dict[str, str]  # name -> description
    tokens: dict[str, str]  # description -> state

    def seen(self) -> State:
        """Return what can be seen of it: nobody gets the values of deleted secrets."""
        return State(
            {name: _hidden(one) if one.is_deleted else one for name, one in self.secrets.items()},
            self.slots,
            self.terms,
            self.rules,
            self.tokens,
        )


class Mortal(Daemon):
    """A daemon with every service's stubs. `tokens` maps what the tokens that somebody holds are for -> their text."""

    access: access_pb2_grpc.AccessServiceStub
    seals: seal_pb2_grpc.SealServiceStub
    secrets: secrets_pb2_grpc.SecretsServiceStub
    token_service: tokens_pb2_grpc.TokenServiceStub

    def __init__(
        self, place: Path, settings: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._variables = {**(environ or {}), VARIABLE: ""}
        super().__init__(place, settings, environ=self._variables)
        self.tokens: dict[str, str] = {}
        self.keys = place / "keys"
        self.keys.mkdir()

    def start(self) -> Self:
        """Start it, and return once it has said READY."""
        super().start()
        assert self._channel
        self.access = access_pb2_grpc.AccessServiceStub(self._channel)
        self.seals = seal_pb2_grpc.SealServiceStub(self._channel)
        self.secrets = secrets_pb2_grpc.SecretsServiceStub(self._channel)
        self.token_service = tokens_pb2_grpc.TokenServiceStub(self._channel)
        return self

    def setenv(self, name: str, value: str) -> None:
        """Set a variable for the runs to come."""
        self._variables[name] = value

    def start_to_die(self, failpoint: str, command: Sequence[str] = VESTRYD) -> bool:
        """Start it with a failpoint, and return whether it got as far as READY."""
        self._variables[VARIABLE], self._command = failpoint, command
        try:
            self.start()
        except AssertionError:
            assert self._process
            assert self._process.poll() == -signal.SIGKILL
            return False
        finally:
            self._variables[VARIABLE], self._command = "", VESTRYD
        return True

    @property
    def log_file(self) -> Path:
        """The file that it prints to, in all its runs."""
        return self._log

    def whoami(self, token: str) -> str:
        """Return who a token makes its bearer."""
        with connect(self.target, token=token) as channel:
            stub = access_pb2_grpc.AccessServiceStub(channel)
            return stub.WhoAmI(access_pb2.WhoAmIRequest(), timeout=PATIENCE_SECONDS).name

    def observe(self) -> State:
        """Return what can be seen of it, once the keyring has come to rest."""
        terms = until(self._terms_at_rest, "every version is wrapped by the active term")
        policy = self.access.GetPolicy(access_pb2.GetPolicyRequest(), timeout=PATIENCE_SECONDS)
        rules = json.loads(policy.document).get("rules", {})
        slots = self.seals.ListUnlockSlots(seal_pb2.ListUnlockSlotsRequest(), timeout=PATIENCE_SECONDS).slots
        tokens = self.token_service.ListTokens(tokens_pb2.ListTokensRequest(), timeout=PATIENCE_SECONDS).tokens
        listed = self.secrets.ListSecrets(
            secrets_pb2.ListSecretsRequest(include_deleted=True, page_size=1000), timeout=PATIENCE_SECONDS
        )
        return State(
            {one.name: self._secret(one) for one in listed.secrets},
            {one.label for one in slots},
            terms,
            {name: rule.get("description", "") for name, rule in rules.items()},
            {one.description: tokens_pb2.TokenState.Name(one.state) for one in tokens},
        )

    def _secret(self, one: secrets_pb2.Secret) -> SecretState:
        listed = self.secrets.ListSecretVersions(
            secrets_pb2.ListSecretVersionsRequest(name=one.name, page_size=1000), timeout=PATIENCE_SECONDS
        )
        found = SecretState(
            current=one.current_version,
            previous=one.previous_version,
            description=one.description,
            is_deleted=one.HasField("delete_time"),
        )
        for version in reversed(listed.versions):
            is_destroyed = version.state == secrets_pb2.SECRET_VERSION_STATE_DESTROYED
            value = HIDDEN if found.is_deleted else b"" if is_destroyed else self.reveal(one.name, version.version)
            found.versions[version.version] = None if is_destroyed else value
        return found

    def reveal(self, name: str, version: int = 0) -> bytes:
        """Return a value."""
        request = secrets_pb2.AccessSecretRequest(name=name, version=version)
        return self.secrets.AccessSecret(request, timeout=PATIENCE_SECONDS).value

    def put(self, name: str, value: bytes, **fields: Any) -> int:
        """Put a value, and return its version."""
        request = secrets_pb2.PutSecretRequest(name=name, value=value, **fields)
        return self.secrets.PutSecret(request, timeout=PATIENCE_SECONDS).version

    def rule(self, name: str, rule: object) -> None:
        """Make a rule of the policy, or take it away with None."""
        patch = json.dumps({"rules": {name: rule}}).encode()
        self.access.UpdatePolicy(access_pb2.UpdatePolicyRequest(merge_patch=patch), timeout=PATIENCE_SECONDS)

    def problems(self, component: str) -> list[str]:
        """Return what its status says is wrong with a component."""
        status = self.admin.GetStatus(admin_pb2.GetStatusRequest(), timeout=PATIENCE_SECONDS)
        return [one.message for one in status.problems if one.component == component]

    def undelete(self, name: str) -> None:
        """Take a deletion back."""
        self.secrets.UndeleteSecret(secrets_pb2.UndeleteSecretRequest(name=name), timeout=PATIENCE_SECONDS)

    def _terms_at_rest(self) -> dict[int, str]:
        status = self.secrets.RewrapStatus(secrets_pb2.RewrapStatusRequest(), timeout=PATIENCE_SECONDS)
        terms = {one.term: _TERMS[one.state] for one in status.terms}
        at_rest = not status.running and not status.remaining and "decrypt-only" not in terms.values()
        return terms if at_rest else {}


@contextmanager
def mortal(
    place: Path, settings: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Mortal]:
    """Give a daemon that isn't started yet; it is ended, and its log shown if a test fails."""
    daemon = Mortal(place, settings, environ)
    daemon.tree.mkdir()
    try:
        yield daemon
    finally:
        daemon.close()
        sys.stdout.write(daemon.log())
        assert "Traceback" not in daemon.log()


def _hidden(one: SecretState) -> SecretState:
    values = {number: None if value is None else HIDDEN for number, value in one.versions.items()}
    return SecretState(values, one.current, one.previous, one.description, one.is_deleted)
