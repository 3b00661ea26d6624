"""A live view for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vestry.background import Runner
from vestry.config import AsyncConfigView, LiveReads
from vestry.live import LiveConfig
from vestry.snapshot import Change
from vestry.v1 import common_pb2, config_pb2


class ConfigView(LiveReads):
    """A live view of one namespace, for threads. Comes from Client.config, and lives as long as its client.

    The twin of AsyncConfigView: what is said there holds here, and the calls block. Reads never do.
    """

    def __init__(self, core: AsyncConfigView, runner: Runner, *, owner: object) -> None:
        super().__init__(core.live)
        self._core = core
        self._runner = runner
        self._owner = owner  # a view in use keeps its client from being collected

    def changes(self) -> Changes:
        """Iterate over the changes from now on, until the client is closed. As AsyncConfigView.changes."""
        return Changes(self._live, self._runner)

    def update(
        self,
        patch: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.UpdateConfigResponse:
        """Merge `patch` into the runtime layer. As AsyncConfigView.update."""
        return self._runner.run(
            lambda: self._core.update(
                patch,
                expected_version=expected_version,
                message=message,
                dry_run=dry_run,
                request_id=request_id,
            )
        )

    def replace(
        self,
        layer: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.UpdateConfigResponse:
        """Put `layer` in place of the whole runtime layer. As AsyncConfigView.replace."""
        return self._runner.run(
            lambda: self._core.replace(
                layer,
                expected_version=expected_version,
                message=message,
                dry_run=dry_run,
                request_id=request_id,
            )
        )

    def rollback(
        self,
        version: int,
        *,
        expected_version: int | None = None,
        message: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> config_pb2.RollbackConfigResponse:
        """Make a new version with the layers of `version`. As AsyncConfigView.rollback."""
        return self._runner.run(
            lambda: self._core.rollback(
                version,
                expected_version=expected_version,
                message=message,
                dry_run=dry_run,
                request_id=request_id,
            )
        )

    def validate(
        self,
        document: Any,
        *,
        layer: common_pb2.Layer.ValueType = common_pb2.LAYER_UNSPECIFIED,
    ) -> config_pb2.ValidateConfigResponse:
        """Check a document and change nothing. As AsyncConfigView.validate."""
        return self._runner.run(lambda: self._core.validate(document, layer=layer))

    def history(self, *, page_size: int = 0) -> Iterator[config_pb2.ConfigVersion]:
        """Iterate over the versions that are kept, newest first. As AsyncConfigView.history."""
        page = self.history_page(page_size=page_size)
        yield from page.versions
        while page.next_page_token:
            page = self.history_page(page_size=page_size, page_token=page.next_page_token)
            yield from page.versions

    def history_page(self, *, page_size: int = 0, page_token: str = "") -> config_pb2.ListConfigVersionsResponse:
        """Return one page of `history`. As AsyncConfigView.history_page."""
        return self._runner.run(lambda: self._core.history_page(page_size=page_size, page_token=page_token))

    def explain(self, path: str = "") -> config_pb2.ExplainConfigResponse:
        """Tell for each leaf at or below `path` which layer set it. As AsyncConfigView.explain."""
        return self._runner.run(lambda: self._core.explain(path))

    def resolve(self, path: str = "") -> Any:
        """Return the value at `path` with secrets in the place of references. As AsyncConfigView.resolve."""
        return self._runner.run(lambda: self._core.resolve(path))

    def status(self) -> config_pb2.GetConfigStatusResponse:
        """Tell how the namespace stands to its files. As AsyncConfigView.status."""
        return self._runner.run(self._core.status)


class Changes(Iterator[Change]):
    """The changes of a namespace since this was made: a cursor, not a queue. For one thread."""

    def __init__(self, live: LiveConfig, runner: Runner) -> None:
        self._live = live
        self._runner = runner
        self._seen = live.snapshot

    def __next__(self) -> Change:
        if not self._live.is_ended:
            self._runner.check()
        change = self._live.wait_for_change(self._seen)
        if change is None:
            raise StopIteration
        self._seen = change.current
        return change
