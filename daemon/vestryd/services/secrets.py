"""SecretsService: the wire's meaning of secrets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from vestry.v1 import common_pb2 as common
from vestry.v1 import secrets_pb2 as pb
from vestryd.domain.clock import Clock
from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import checksum
from vestryd.domain.secrets.heads import Head
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.store import Store
from vestryd.services import secret_messages as messages
from vestryd.services import secret_requests as requests
from vestryd.services.call import Call
from vestryd.services.common_messages import store_revision, timestamp
from vestryd.services.common_requests import check_request_id, watched_namespaces
from vestryd.services.feed import Feed
from vestryd.services.paging import number_at, page_size, page_token, position_of, time_at, time_position


class SecretsService:
    """Answers SecretsService. Lives as long as the daemon serves.

    It holds no value longer than it takes to answer, and tells the log nothing of one.
    """

    service = "vestry.v1.SecretsService"

    def __init__(self, secrets: Secrets, vault: Vault, feed: Feed, *, store: Store, clock: Clock) -> None:
        self._secrets = secrets
        self._vault = vault
        self._feed = feed
        self._store = store
        self._clock = clock

    async def put_secret(self, request: pb.PutSecretRequest, call: Call) -> pb.PutSecretResponse:
        """Write a new version."""
        namespace, name = requests.namespace_and_name(request, call)
        check_request_id(request.request_id)
        content = requests.content(request)
        if content is None:
            raise InvalidField("content", "set value or generator")
        written = await self._secrets.put(
            call.caller,
            namespace,
            name,
            content=content,
            settings=requests.settings(request),
            expected_version=requests.expected_version(request),
            request_id=request.request_id,
            call_id=call.request_id,
        )
        call.facts["version"] = written.version
        return pb.PutSecretResponse(
            secret=self._secret(written.head), version=written.version, revision=self._revision(written.revision)
        )

    async def update_secret(self, request: pb.UpdateSecretRequest, call: Call) -> pb.UpdateSecretResponse:
        """Change settings."""
        namespace, name = requests.namespace_and_name(request, call)
        settings = requests.settings(request)
        if settings is None:
            raise InvalidField("settings", "it is required")
        written = await self._secrets.update(
            call.caller,
            namespace,
            name,
            settings=settings,
            fields=requests.fields(request.update_mask),
            call_id=call.request_id,
        )
        return pb.UpdateSecretResponse(secret=self._secret(written.head))

    def get_secret(self, request: pb.GetSecretRequest, call: Call) -> pb.GetSecretResponse:
        """Read what is known of a secret."""
        namespace, name = requests.namespace_and_name(request, call)
        head = self._secrets.get(call.caller, namespace, name)
        return pb.GetSecretResponse(secret=self._secret(head), revision=self._revision(self._secrets.revision))

    async def access_secret(self, request: pb.AccessSecretRequest, call: Call) -> pb.AccessSecretResponse:
        """Read a value."""
        namespace, name = requests.namespace_and_name(request, call)
        accessed = await self._secrets.access(
            call.caller,
            namespace,
            name,
            version=requests.version(request.version, smallest=0),
            label=requests.label(request.label),
            call_id=call.request_id,
        )
        call.facts["version"] = accessed.version
        return pb.AccessSecretResponse(
            value=accessed.value,
            version=accessed.version,
            create_time=timestamp(accessed.create_time),
            expire_time=timestamp(accessed.expire_time) if accessed.expire_time else None,
        )

    def list_secrets(self, request: pb.ListSecretsRequest, call: Call) -> pb.ListSecretsResponse:
        """List secrets by name."""
        namespace = requests.namespace(request.namespace, call)
        filters = f"{namespace}\n{request.name_prefix}\n{request.include_deleted}"
        scope = f"secrets/{checksum(filters.encode())[:16]}"
        size = page_size(request.page_size)
        found = self._secrets.list(
            call.caller,
            namespace,
            name_prefix=request.name_prefix,
            include_deleted=request.include_deleted,
            after=position_of(scope, request.page_token),
            limit=size + 1,
        )
        return pb.ListSecretsResponse(
            secrets=self._told(found[:size]),
            next_page_token=page_token(scope, found[size - 1].name) if len(found) > size else "",
        )

    def list_secret_versions(self, request: pb.ListSecretVersionsRequest, call: Call) -> pb.ListSecretVersionsResponse:
        """List versions, newest first."""
        namespace, name = requests.namespace_and_name(request, call)
        scope = f"secret-versions/{namespace}/{name}"
        position = position_of(scope, request.page_token)
        size = page_size(request.page_size)
        head, found = self._secrets.versions(
            call.caller, namespace, name, below=number_at(position) if position else 0, limit=size + 1
        )
        return pb.ListSecretVersionsResponse(
            versions=[messages.version(head, one) for one in found[:size]],
            next_page_token=page_token(scope, str(found[size - 1].number)) if len(found) > size else "",
        )

    def watch_secrets(self, request: pb.WatchSecretsRequest, call: Call) -> AsyncGenerator[bytes, None]:
        """Stream what is known of the namespaces' secrets."""
        return self._feed.watch(watched_namespaces(request, call), request.resume_token)

    async def delete_secret(self, request: pb.DeleteSecretRequest, call: Call) -> pb.DeleteSecretResponse:
        """Delete a secret softly."""
        namespace, name = requests.namespace_and_name(request, call)
        expected = requests.expected_version(request)
        written = await self._secrets.delete(
            call.caller, namespace, name, expected_version=expected, call_id=call.request_id
        )
        return pb.DeleteSecretResponse(secret=self._secret(written.head))

    async def undelete_secret(self, request: pb.UndeleteSecretRequest, call: Call) -> pb.UndeleteSecretResponse:
        """Take a deletion back."""
        namespace, name = requests.namespace_and_name(request, call)
        written = await self._secrets.undelete(call.caller, namespace, name, call_id=call.request_id)
        return pb.UndeleteSecretResponse(secret=self._secret(written.head))

    async def destroy_secret_version(
        self, request: pb.DestroySecretVersionRequest, call: Call
    ) -> pb.DestroySecretVersionResponse:
        """Erase a value for good."""
        namespace, name = requests.namespace_and_name(request, call)
        version = requests.version(request.version, smallest=1)
        call.facts["version"] = version
        written = await self._secrets.destroy(call.caller, namespace, name, version, call_id=call.request_id)
        return pb.DestroySecretVersionResponse(secret=self._secret(written.head))

    async def rotate_secret(self, request: pb.RotateSecretRequest, call: Call) -> pb.RotateSecretResponse:
        """Rotate a secret."""
        namespace, name = requests.namespace_and_name(request, call)
        check_request_id(request.request_id)
        written = await self._secrets.rotate(
            call.caller,
            namespace,
            name,
            step=requests.step(request.step),
            content=requests.content(request),
            grace=requests.grace(request),
            expected_version=requests.expected_version(request),
            request_id=request.request_id,
            call_id=call.request_id,
        )
        call.facts["version"] = written.version
        return pb.RotateSecretResponse(secret=self._secret(written.head), version=written.version)

    def get_rotation_status(self, request: pb.GetRotationStatusRequest, call: Call) -> pb.GetRotationStatusResponse:
        """Tell how rotations stand, the most due first."""
        namespace = requests.namespace(request.namespace, call)
        scope = f"rotations/{namespace}/{request.only_due}"
        position = position_of(scope, request.page_token)
        size = page_size(request.page_size)
        status = self._secrets.rotation_status(
            call.caller,
            namespace,
            only_due=request.only_due,
            after=time_at(position) if position else None,
            limit=size + 1,
        )
        more = len(status.heads) > size
        return pb.GetRotationStatusResponse(
            secrets=self._told(status.heads[:size]),
            due=status.due,
            overdue=status.overdue,
            next_page_token=page_token(scope, _position(status.heads[size - 1])) if more else "",
        )

    async def rotate_keyring(self, _request: pb.RotateKeyringRequest, call: Call) -> pb.RotateKeyringResponse:
        """Make a new key in the keyring."""
        term = await self._vault.rotate_keyring(call.caller, call_id=call.request_id)
        call.facts["term"] = term
        return pb.RotateKeyringResponse(term=term)

    def rewrap_status(self, _request: pb.RewrapStatusRequest, call: Call) -> pb.RewrapStatusResponse:
        """Tell how far the wrapping has come."""
        progress = self._secrets.rewrap.progress(call.caller)
        return pb.RewrapStatusResponse(
            terms=[messages.term(one) for one in progress.terms],
            running=progress.is_running,
            remaining=progress.remaining,
            done=progress.done,
            problem=progress.problem,
        )

    async def export_secrets(
        self, request: pb.ExportSecretsRequest, call: Call
    ) -> AsyncGenerator[pb.ExportSecretsResponse, None]:
        """Stream current values as encrypted files."""
        namespace = requests.namespace(request.namespace, call)
        names = requests.names(request.names)
        exported = self._secrets.export(
            call.caller, namespace, names, request.passphrase.encode(), call_id=call.request_id
        )
        async with aclosing(exported) as files:
            async for one in files:
                yield pb.ExportSecretsResponse(name=one.name, version=one.version, file=one.file)

    async def import_secrets(self, request: pb.ImportSecretsRequest, call: Call) -> pb.ImportSecretsResponse:
        """Take many secrets in, all of them or none."""
        namespace = requests.namespace(request.namespace, call)
        results = await self._secrets.import_(
            call.caller,
            namespace,
            requests.imports(request),
            passphrase=request.passphrase.encode(),
            conflict=requests.conflict(request.conflict),
            dry_run=request.dry_run,
            call_id=call.request_id,
        )
        call.facts["secrets"] = len(results)
        return pb.ImportSecretsResponse(results=[messages.imported(one) for one in results])

    def _secret(self, head: Head) -> pb.Secret:
        return messages.secret(head, self._clock.now())

    def _told(self, heads: Iterable[Head]) -> list[pb.Secret]:
        now = self._clock.now()
        return [messages.secret(head, now) for head in heads]

    def _revision(self, revision: int) -> common.StoreRevision:
        return store_revision(self._store, revision)


def _position(head: Head) -> str:
    assert head.next_rotation_time, "only secrets with a period are listed"
    return time_position(head.next_rotation_time, head.name)
