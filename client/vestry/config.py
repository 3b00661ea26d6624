"""A live view of one namespace's configuration, and the calls that change it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from vestry import paths
from vestry.errors import SecretWithheld, VestryError
from vestry.live import Callback, LiveConfig, Subscription
from vestry.reading import Reads
from vestry.references import withheld
from vestry.remote import Remote
from vestry.snapshot import Change, Snapshot
from vestry.v1 import common_pb2, config_pb2


class LiveReads(Reads):
    """What the two kinds of view share: everything that needs no daemon.

    A read is local and lock-free: it looks at one immutable snapshot, which the client's watch replaces. So each read
    is of one version; take `snapshot` once for several reads that belong together.
    """

    def __init__(self, live: LiveConfig) -> None:
        self._live = live

    def __getitem__(self, path: str) -> Any:
        return self._live.snapshot[path]

    @property
    def live(self) -> LiveConfig:
        """What feeds the view: the library's own, not for its users."""
        return self._live

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        return self._live.namespace

    @property
    def snapshot(self) -> Snapshot:
        """The version in force, whole: it stays as it is while the view moves on."""
        return self._live.snapshot

    @property
    def document(self) -> Any:
        """The effective document, frozen."""
        return self._live.snapshot.document

    @property
    def version(self) -> int:
        """The version of what is read, from 1."""
        return self._live.snapshot.version

    @property
    def is_live(self) -> bool:
        """Whether the view follows the daemon at this moment; otherwise it shows the last state known."""
        return self._live.is_live

    @property
    def age(self) -> float:
        """The seconds since the daemon was last heard, below about 10 while live; for a copy from disk, since it was kept."""
        return self._live.age_seconds

    @property
    def error(self) -> VestryError | None:
        """Why the view is not live; None while it is."""
        return self._live.error

    @property
    def rejection(self) -> config_pb2.Rejection | None:
        """Why the namespace's files are refused, as the watch told last; None when they are in order.

        Don't log it whole: its violations may quote values.
        """
        return self._live.rejection

    def on_change(self, path: str, callback: Callback) -> Subscription:
        """Call `callback(old, new)` whenever the value at `path` changes from what it is now; None stands for absent.

        It runs where the watch does: an AsyncClient's event loop, a Client's own thread. So it must not block, and
        can't make calls of a synchronous view. What it raises is logged. Versions that follow each other fast may be
        skipped, never the newest. Cancel the subscription that is returned to stop.
        """
        return self._live.subscribe(paths.parse(path), callback)

    def __repr__(self) -> str:
        state = "live" if self.is_live else f"{self.age:.0f} s old"
        return f"<{type(self).__name__} of {self.namespace!r} version {self.version}, {state}>"


class AsyncConfigView(LiveReads):
    """A live view of one namespace, for asyncio. Comes from AsyncClient.config, and lives as long as its client.

    Its calls ask the daemon and raise what vestry.errors lists. A change returns once the view shows it, or at once when
    the view is not live. A change whose answer was lost is asked for again under the same request_id, a new UUID unless
    you give one.
    """

    def __init__(self, live: LiveConfig, remote: Remote) -> None:
        super().__init__(live)
        self._remote = remote

    def changes(self) -> AsyncChanges:
        """Iterate over the changes from now on, until the client is closed.

        Nothing queues up: a reader that is slower than the changes gets the step to the newest.
        """
        return AsyncChanges(self._live)

    async def update(
        self,
        patch: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.UpdateConfigResponse:
        """Merge `patch` into the runtime layer (RFC 7396): a None takes a key out, so that other layers show again.

        Raises VersionMismatch when the namespace is not at `expected_version`, Invalid when the result breaks the
        schema.
        """
        return await self._update(
            config_pb2.UpdateConfigRequest(
                namespace=self.namespace,
                merge_patch=_encode(patch),
                expected_version=expected_version,
                message=message,
                dry_run=dry_run,
                request_id=request_id or str(uuid.uuid4()),
            )
        )

    async def replace(
        self,
        layer: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.UpdateConfigResponse:
        """Put `layer` in place of the runtime layer: a None in it deletes what other layers say. Raises as `update`."""
        return await self._update(
            config_pb2.UpdateConfigRequest(
                namespace=self.namespace,
                replace=_encode(layer),
                expected_version=expected_version,
                message=message,
                dry_run=dry_run,
                request_id=request_id or str(uuid.uuid4()),
            )
        )

    async def rollback(
        self,
        version: int,
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.RollbackConfigResponse:
        """Make a new version with the layers of `version`. Raises NotFound, when it is not kept, and as `update`."""
        request = config_pb2.RollbackConfigRequest(
            namespace=self.namespace,
            version=version,
            expected_version=expected_version,
            message=message,
            dry_run=dry_run,
            request_id=request_id or str(uuid.uuid4()),
        )
        response = await self._remote.write(self._remote.stub.RollbackConfig, request)
        if not dry_run:
            await self._live.reach(response.version)
        return response

    async def validate(
        self,
        document: Any,
        *,
        layer: common_pb2.Layer.ValueType = common_pb2.LAYER_UNSPECIFIED,
    ) -> config_pb2.ValidateConfigResponse:
        """Check a document, or what would come of it as `layer`, and change nothing. Broken rules are in the answer."""
        request = config_pb2.ValidateConfigRequest(namespace=self.namespace, layer=layer, document=_encode(document))
        return await self._remote.call(self._remote.stub.ValidateConfig, request)

    async def history(self, *, page_size: int = 0) -> AsyncIterator[config_pb2.ConfigVersion]:
        """Iterate over the versions that are kept, newest first, fetching `page_size` at a time (0: 50)."""
        token = ""
        while True:
            page = await self.history_page(page_size=page_size, page_token=token)
            for version in page.versions:
                yield version
            token = page.next_page_token
            if not token:
                return

    async def history_page(self, *, page_size: int = 0, page_token: str = "") -> config_pb2.ListConfigVersionsResponse:
        """Return one page of `history`; the empty token is the first page's."""
        request = config_pb2.ListConfigVersionsRequest(
            namespace=self.namespace, page_size=page_size, page_token=page_token
        )
        return await self._remote.call(self._remote.stub.ListConfigVersions, request)

    async def explain(self, path: str = "") -> config_pb2.ExplainConfigResponse:
        """Tell for each leaf at or below `path` which layer set it. Raises NotFound when no layer speaks of it."""
        request = config_pb2.ExplainConfigRequest(namespace=self.namespace, pointer=paths.to_pointer(paths.parse(path)))
        return await self._remote.call(self._remote.stub.ExplainConfig, request)

    async def resolve(self, path: str = "") -> Any:
        """Return the value at `path`, now, with the values of secrets in the place of references to them.

        It comes from the daemon, which checks and audits each secret; nothing is kept, and dicts and lists are yours. Take
        it when you need it. Raises SecretWithheld when you can't have one of them, NotFound when nothing stands there.
        """
        request = config_pb2.GetConfigRequest(
            namespace=self.namespace, pointer=paths.to_pointer(paths.parse(path)), resolve_secrets=True
        )
        response = await self._remote.call(self._remote.stub.GetConfig, request)
        value = json.loads(response.value)
        if reasons := withheld(value, request.pointer):
            raise SecretWithheld(self.namespace, reasons)
        return value

    async def status(self) -> config_pb2.GetConfigStatusResponse:
        """Tell how the namespace stands to its files: drift, and why they are refused if they are."""
        request = config_pb2.GetConfigStatusRequest(namespace=self.namespace)
        return await self._remote.call(self._remote.stub.GetConfigStatus, request)

    async def _update(self, request: config_pb2.UpdateConfigRequest) -> config_pb2.UpdateConfigResponse:
        response = await self._remote.write(self._remote.stub.UpdateConfig, request)
        if not request.dry_run:
            await self._live.reach(response.version)
        return response


class AsyncChanges(AsyncIterator[Change]):
    """The changes of a namespace since this was made: a cursor, not a queue. For one task."""

    def __init__(self, live: LiveConfig) -> None:
        self._live = live
        self._seen = live.snapshot

    async def __anext__(self) -> Change:
        change = await self._live.next_change(self._seen)
        if change is None:
            raise StopAsyncIteration
        self._seen = change.current
        return change


def _encode(value: Any) -> bytes:
    """Return a value as JSON. Raises TypeError or ValueError for what JSON can't say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
