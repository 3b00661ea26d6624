"""Handles of secrets, for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

from vestry.background import Runner
from vestry.rotations import RotationSubscription
from vestry.secrets import AsyncSecretHandle, AsyncSecrets, HandleFacts, Label, as_text, which
from vestry.v1 import secrets_pb2


class SecretHandle(HandleFacts):
    """A secret by its name, for threads. Comes from Client.secrets, and lives as long as its client.

    The twin of AsyncSecretHandle: what is said there holds here, and the calls block. A value that is in memory and fresh
    is given without waiting.
    """

    def __init__(self, core: AsyncSecretHandle, runner: Callable[[], Runner], *, owner: object) -> None:
        super().__init__(core.namespace, core.name)
        self._core = core
        self._runner = runner
        self._owner = owner  # a handle in use keeps its client from being collected

    @property
    def version(self) -> int:
        """The current version as last heard. As AsyncSecretHandle.version."""
        return self._core.version

    @property
    def is_live(self) -> bool:
        """Whether rotations are heard of at this moment. As AsyncSecretHandle.is_live."""
        return self._core.is_live

    def reveal(self, *, label: Label = "current", version: int = 0) -> bytes:
        """Return the value with the label, or that of a version. As AsyncSecretHandle.reveal."""
        kept = self._core.peek(which(label, version))
        if kept is not None:
            return kept
        return self._runner().run(lambda: self._core.reveal(label=label, version=version))

    def reveal_text(self, *, label: Label = "current", version: int = 0) -> str:
        """Return the value as the UTF-8 text that it is. As AsyncSecretHandle.reveal_text."""
        return as_text(self.reveal(label=label, version=version), self)

    def on_rotate(self, callback: Callable[[SecretHandle], None]) -> RotationSubscription:
        """Call `callback(handle)` whenever another version becomes the current one. As AsyncSecretHandle.on_rotate.

        It runs on a thread of its own, so it may block, and reveal the new value; once at a time.
        """
        runner = self._runner()

        async def subscribe() -> RotationSubscription:
            return self._core.on_rotate(lambda _: runner.start(lambda: callback(self)))

        return runner.run(subscribe)

    def put(
        self,
        content: bytes | secrets_pb2.Generator,
        *,
        settings: secrets_pb2.SecretSettings | None = None,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> secrets_pb2.PutSecretResponse:
        """Write a value, or one that the daemon makes, as the new current version. As AsyncSecretHandle.put."""
        return self._runner().run(
            lambda: self._core.put(content, settings=settings, expected_version=expected_version, request_id=request_id)
        )

    def rotate(
        self,
        content: bytes | secrets_pb2.Generator | None = None,
        *,
        step: secrets_pb2.RotationStep.ValueType = secrets_pb2.ROTATION_STEP_UNSPECIFIED,
        grace: timedelta | None = None,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> secrets_pb2.RotateSecretResponse:
        """Rotate. As AsyncSecretHandle.rotate."""
        return self._runner().run(
            lambda: self._core.rotate(
                content, step=step, grace=grace, expected_version=expected_version, request_id=request_id
            )
        )

    def metadata(self) -> secrets_pb2.Secret:
        """Return what is known of the secret beside its values, from the daemon."""
        return self._runner().run(self._core.metadata)

    def versions(self, *, page_size: int = 0) -> Iterator[secrets_pb2.SecretVersion]:
        """Iterate over the versions, newest first. As AsyncSecretHandle.versions."""
        page = self.versions_page(page_size=page_size)
        yield from page.versions
        while page.next_page_token:
            page = self.versions_page(page_size=page_size, page_token=page.next_page_token)
            yield from page.versions

    def versions_page(self, *, page_size: int = 0, page_token: str = "") -> secrets_pb2.ListSecretVersionsResponse:
        """Return one page of `versions`; the empty token is the first page's."""
        return self._runner().run(lambda: self._core.versions_page(page_size=page_size, page_token=page_token))


class Secrets:
    """The secrets of one namespace, by name. Comes from Client.secrets, and lives as long as its client."""

    __iter__: ClassVar[None] = None  # or Python would iterate by asking for the "names" 0, 1, 2, …

    def __init__(self, core: AsyncSecrets, runner: Callable[[], Runner], *, owner: object) -> None:
        self.namespace = core.namespace
        self._core = core
        self._runner = runner
        self._owner = owner  # as that of a handle
        self._handles: dict[str, SecretHandle] = {}  # name -> its one handle

    def __getitem__(self, name: str) -> SecretHandle:
        """Return the handle of a secret, which need not exist, the same one each time. Raises Invalid for a bad name."""
        if name not in self._handles:
            self._handles.setdefault(name, SecretHandle(self._core[name], self._runner, owner=self._owner))
        return self._handles[name]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.namespace!r}>"
