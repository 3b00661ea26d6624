"""SecretsService in memory, faithful as far as a command line can see."""

# ruff: noqa: N802 - the methods' names are the proto's

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ctl.fake_config import REVISION, Context
from ctl.fake_errors import abort
from vestry.v1 import common_pb2, secrets_pb2, secrets_pb2_grpc

PAGE_SIZE = 2
NOW = Timestamp(seconds=1_790_000_000)


@dataclass
class Kept:
    """One secret: its facts, and its values by version."""

    facts: secrets_pb2.Secret
    values: dict[int, bytes] = field(default_factory=dict)
    destroyed: set[int] = field(default_factory=set)

    def add(self, value: bytes) -> int:
        """Make a version, and return its number."""
        self.facts.newest_version += 1
        self.values[self.facts.newest_version] = value
        return self.facts.newest_version

    def promote(self, version: int) -> None:
        """Make a version the current one."""
        self.facts.previous_version, self.facts.current_version = self.facts.current_version, version
        if self.facts.pending_version == version:
            self.facts.pending_version = 0


@dataclass
class FakeSecrets(secrets_pb2_grpc.SecretsServiceServicer):
    """Keeps secrets, and what it was asked. A file that it exports is the passphrase, the name and the value, in clear."""

    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)  # (namespace, name) -> the secret
    asked: list[Any] = field(default_factory=list)  # the requests of writes, in order
    terms: list[secrets_pb2.KeyringTerm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_stopping = False
        self._changed = threading.Condition()
        self._log: list[secrets_pb2.SecretChange] = []

    def set(self, name: str, value: bytes, *, namespace: str = "default") -> Kept:
        """Make a version the current one, and tell watchers."""
        kept = self._make(namespace, name)
        kept.promote(kept.add(value))
        self._tell(kept, secrets_pb2.SECRET_EVENT_CURRENT_CHANGED)
        return kept

    def value(self, name: str, *, namespace: str = "default") -> bytes:
        """Return the current value."""
        kept = self.kept[namespace, name]
        return kept.values[kept.facts.current_version]

    def stop(self, *, is_stopping: bool) -> None:
        """End every watch, or let there be watches again."""
        with self._changed:
            self.is_stopping = is_stopping
            self._changed.notify_all()

    def PutSecret(self, request: secrets_pb2.PutSecretRequest, context: Context) -> secrets_pb2.PutSecretResponse:
        """Make a version."""
        self.asked.append(request)
        existing = self.kept.get((request.namespace, request.name))
        current = existing.facts.current_version if existing else 0
        if request.HasField("expected_version") and request.expected_version != current:
            abort(context, grpc.StatusCode.ABORTED, "VERSION_MISMATCH", f"{request.name} is at version {current}")
        kept = self.set(request.name, request.value or b"generated", namespace=request.namespace)
        if request.HasField("settings"):
            _apply(kept.facts, request.settings, ["description", "tags", "rotation", "expire_time"])
        return secrets_pb2.PutSecretResponse(secret=kept.facts, version=kept.facts.current_version, revision=REVISION)

    def UpdateSecret(
        self, request: secrets_pb2.UpdateSecretRequest, context: Context
    ) -> secrets_pb2.UpdateSecretResponse:
        """Change settings."""
        self.asked.append(request)
        kept = self._find(request, context)
        _apply(kept.facts, request.settings, list(request.update_mask.paths))
        self._tell(kept, secrets_pb2.SECRET_EVENT_UNSPECIFIED)
        return secrets_pb2.UpdateSecretResponse(secret=kept.facts)

    def GetSecret(self, request: secrets_pb2.GetSecretRequest, context: Context) -> secrets_pb2.GetSecretResponse:
        """Tell what is known, of a deleted one too."""
        return secrets_pb2.GetSecretResponse(
            secret=self._find(request, context, is_deleted=True).facts, revision=REVISION
        )

    def AccessSecret(
        self, request: secrets_pb2.AccessSecretRequest, context: Context
    ) -> secrets_pb2.AccessSecretResponse:
        """Give a value."""
        kept = self._find(request, context)
        labels = {
            secrets_pb2.SECRET_LABEL_PREVIOUS: kept.facts.previous_version,
            secrets_pb2.SECRET_LABEL_PENDING: kept.facts.pending_version,
        }
        version = request.version or labels.get(request.label, kept.facts.current_version)
        if version not in kept.values:
            abort(context, grpc.StatusCode.FAILED_PRECONDITION, "SECRET_UNUSABLE", f"{request.name} can't be had")
        return secrets_pb2.AccessSecretResponse(value=kept.values[version], version=version, create_time=NOW)

    def ListSecrets(self, request: secrets_pb2.ListSecretsRequest, context: Context) -> secrets_pb2.ListSecretsResponse:
        """List secrets, two on a page; the token is how many were given."""
        found = [
            kept.facts
            for (namespace, name), kept in sorted(self.kept.items())
            if namespace == request.namespace
            and name.startswith(request.name_prefix)
            and (request.include_deleted or not kept.facts.HasField("delete_time"))
        ]
        given, token = _page(found, request.page_token)
        return secrets_pb2.ListSecretsResponse(secrets=given, next_page_token=token)

    def ListSecretVersions(
        self, request: secrets_pb2.ListSecretVersionsRequest, context: Context
    ) -> secrets_pb2.ListSecretVersionsResponse:
        """List versions, two on a page, newest first."""
        kept = self._find(request, context)
        states = {
            kept.facts.previous_version: secrets_pb2.SECRET_VERSION_STATE_PREVIOUS,
            kept.facts.current_version: secrets_pb2.SECRET_VERSION_STATE_CURRENT,
        } | dict.fromkeys(kept.destroyed, secrets_pb2.SECRET_VERSION_STATE_DESTROYED)
        found = [
            secrets_pb2.SecretVersion(
                version=number,
                state=states.get(number, secrets_pb2.SECRET_VERSION_STATE_OLD),
                create_time=NOW,
                author="tester",
                size=len(kept.values.get(number, b"")),
                term=1,
            )
            for number in range(kept.facts.newest_version, 0, -1)
        ]
        given, token = _page(found, request.page_token)
        return secrets_pb2.ListSecretVersionsResponse(versions=given, next_page_token=token)

    def WatchSecrets(
        self, request: secrets_pb2.WatchSecretsRequest, context: Context
    ) -> Iterator[secrets_pb2.WatchSecretsResponse]:
        """Send the state or what was missed, and then what happens; a token is a place in the log."""
        place = int(request.resume_token) if request.resume_token else len(self._log)
        if not request.resume_token:
            for namespace in request.namespaces:
                facts = [kept.facts for key, kept in sorted(self.kept.items()) if key[0] == namespace]
                state = secrets_pb2.SecretsState(namespace=namespace, secrets=facts)
                yield secrets_pb2.WatchSecretsResponse(state=state)
        yield secrets_pb2.WatchSecretsResponse(resume_token=str(place), bookmark=common_pb2.Bookmark())
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda at=place: self.is_stopping or len(self._log) > at, 0.5)  # type: ignore[misc]
                missed = self._log[place:]
            for change in missed:
                place += 1
                if change.secret.namespace in request.namespaces:
                    yield secrets_pb2.WatchSecretsResponse(resume_token=str(place), change=change)
            if self.is_stopping:
                abort(context, grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "the daemon is shutting down")

    def DeleteSecret(
        self, request: secrets_pb2.DeleteSecretRequest, context: Context
    ) -> secrets_pb2.DeleteSecretResponse:
        """Delete softly."""
        self.asked.append(request)
        kept = self._find(request, context, is_deleted=True)
        kept.facts.delete_time.CopyFrom(NOW)
        self._tell(kept, secrets_pb2.SECRET_EVENT_DELETED)
        return secrets_pb2.DeleteSecretResponse(secret=kept.facts)

    def UndeleteSecret(
        self, request: secrets_pb2.UndeleteSecretRequest, context: Context
    ) -> secrets_pb2.UndeleteSecretResponse:
        """Take a deletion back."""
        kept = self._find(request, context, is_deleted=True)
        kept.facts.ClearField("delete_time")
        return secrets_pb2.UndeleteSecretResponse(secret=kept.facts)

    def DestroySecretVersion(
        self, request: secrets_pb2.DestroySecretVersionRequest, context: Context
    ) -> secrets_pb2.DestroySecretVersionResponse:
        """Erase a value."""
        self.asked.append(request)
        kept = self._find(request, context)
        kept.values.pop(request.version, None)
        kept.destroyed.add(request.version)
        return secrets_pb2.DestroySecretVersionResponse(secret=kept.facts)

    def RotateSecret(
        self, request: secrets_pb2.RotateSecretRequest, context: Context
    ) -> secrets_pb2.RotateSecretResponse:
        """Take one of the steps."""
        self.asked.append(request)
        kept = self._find(request, context)
        match request.step:
            case secrets_pb2.ROTATION_STEP_PROMOTE:
                version = kept.facts.pending_version
                kept.promote(version)
            case secrets_pb2.ROTATION_STEP_ABANDON:
                version, kept.facts.pending_version = kept.facts.pending_version, 0
            case secrets_pb2.ROTATION_STEP_PENDING:
                version = kept.facts.pending_version = kept.add(request.value or b"generated")
            case _:
                version = kept.add(request.value or b"generated")
                kept.promote(version)
        if request.HasField("grace"):
            kept.facts.previous_until_time.FromSeconds(NOW.seconds + request.grace.seconds)
        self._tell(kept, secrets_pb2.SECRET_EVENT_CURRENT_CHANGED)
        return secrets_pb2.RotateSecretResponse(secret=kept.facts, version=version)

    def GetRotationStatus(
        self, request: secrets_pb2.GetRotationStatusRequest, context: Context
    ) -> secrets_pb2.GetRotationStatusResponse:
        """Tell of what has a period, all of it overdue."""
        found = [kept.facts for _, kept in sorted(self.kept.items()) if kept.facts.rotation.HasField("period")]
        for facts in found:
            facts.rotation_state = secrets_pb2.ROTATION_STATE_OVERDUE
            facts.next_rotation_time.CopyFrom(NOW)
        given, token = _page(found, request.page_token)
        return secrets_pb2.GetRotationStatusResponse(secrets=given, overdue=len(found), next_page_token=token)

    def RotateKeyring(
        self, request: secrets_pb2.RotateKeyringRequest, context: Context
    ) -> secrets_pb2.RotateKeyringResponse:
        """Make a term."""
        active = secrets_pb2.KEYRING_TERM_STATE_ACTIVE
        term = secrets_pb2.KeyringTerm(term=len(self.terms) + 1, state=active, create_time=NOW, versions=7, wraps=9)
        self.terms.append(term)
        return secrets_pb2.RotateKeyringResponse(term=term.term)

    def RewrapStatus(
        self, request: secrets_pb2.RewrapStatusRequest, context: Context
    ) -> secrets_pb2.RewrapStatusResponse:
        """Tell the terms, and that the work is half done."""
        return secrets_pb2.RewrapStatusResponse(terms=self.terms, running=True, remaining=4, done=3)

    def ExportSecrets(
        self, request: secrets_pb2.ExportSecretsRequest, context: Context
    ) -> Iterator[secrets_pb2.ExportSecretsResponse]:
        """Send files."""
        for (namespace, name), kept in sorted(self.kept.items()):
            if namespace == request.namespace and (not request.names or name in request.names):
                content = b"\n".join((request.passphrase.encode(), name.encode(), self.value(name)))
                version = kept.facts.current_version
                yield secrets_pb2.ExportSecretsResponse(name=name, version=version, file=content)

    def ImportSecrets(
        self, request: secrets_pb2.ImportSecretsRequest, context: Context
    ) -> secrets_pb2.ImportSecretsResponse:
        """Take all in, or none."""
        self.asked.append(request)
        planned = [self._plan(each, request, context) for each in request.secrets]
        if not request.dry_run:
            for name, value, outcome in planned:
                if outcome in {secrets_pb2.IMPORT_OUTCOME_CREATED, secrets_pb2.IMPORT_OUTCOME_REPLACED}:
                    self.set(name, value, namespace=request.namespace)
        return secrets_pb2.ImportSecretsResponse(
            results=[secrets_pb2.ImportResult(name=name, outcome=outcome, version=1) for name, _, outcome in planned]
        )

    def _plan(
        self, secret: secrets_pb2.ImportedSecret, request: secrets_pb2.ImportSecretsRequest, context: Context
    ) -> tuple[str, bytes, secrets_pb2.ImportOutcome.ValueType]:
        name, value = secret.name, secret.value
        if secret.file:
            passphrase, encoded, value = secret.file.split(b"\n", 2)
            name = encoded.decode()
            if passphrase.decode() != request.passphrase:
                abort(context, grpc.StatusCode.INVALID_ARGUMENT, "UNLOCK_REFUSED", "the passphrase opens no file")
        if (request.namespace, name) not in self.kept:
            return name, value, secrets_pb2.IMPORT_OUTCOME_CREATED
        if self.value(name, namespace=request.namespace) == value:
            return name, value, secrets_pb2.IMPORT_OUTCOME_UNCHANGED
        if request.conflict == secrets_pb2.IMPORT_CONFLICT_SKIP:
            return name, value, secrets_pb2.IMPORT_OUTCOME_SKIPPED
        if request.conflict == secrets_pb2.IMPORT_CONFLICT_UNSPECIFIED:
            abort(context, grpc.StatusCode.ABORTED, "VERSION_MISMATCH", f"{name} is there with another value")
        return name, value, secrets_pb2.IMPORT_OUTCOME_REPLACED

    def _make(self, namespace: str, name: str) -> Kept:
        facts = secrets_pb2.Secret(namespace=namespace, name=name, author="tester", create_time=NOW, update_time=NOW)
        return self.kept.setdefault((namespace, name), Kept(facts))

    def _find(self, request: Any, context: Context, *, is_deleted: bool = False) -> Kept:
        kept = self.kept.get((request.namespace, request.name))
        if kept is None or (kept.facts.HasField("delete_time") and not is_deleted):
            message = f"there is no secret {request.name!r} in {request.namespace!r}"
            abort(context, grpc.StatusCode.NOT_FOUND, "SECRET_NOT_FOUND", message)
        return kept

    def _tell(self, kept: Kept, event: secrets_pb2.SecretEvent.ValueType) -> None:
        with self._changed:
            self._log.append(secrets_pb2.SecretChange(secret=kept.facts, event=event))
            self._changed.notify_all()


def _apply(facts: secrets_pb2.Secret, settings: secrets_pb2.SecretSettings, fields: list[str]) -> None:
    for name in fields:
        facts.ClearField(name)  # type: ignore[arg-type]  # the masks' names are the fields'
        if name == "description":
            facts.description = settings.description
        elif name == "tags":
            facts.tags.update(settings.tags)
        elif settings.HasField(name):  # type: ignore[arg-type]  # as above
            getattr(facts, name).CopyFrom(getattr(settings, name))


def _page(found: list[Any], token: str) -> tuple[list[Any], str]:
    start = int(token or 0)
    end = start + PAGE_SIZE
    return found[start:end], str(end) if end < len(found) else ""
