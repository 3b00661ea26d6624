"""Handles of secrets, for asyncio: where a program gets a value at the moment it needs it."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import ClassVar, Literal, NoReturn, Self

from vestry.errors import Invalid, SecretNotText, Violation
from vestry.live_secrets import LiveSecret, Which
from vestry.rotations import RotationSubscription
from vestry.secret_cache import SecretCache
from vestry.v1 import secrets_pb2

Label = Literal["current", "previous", "pending"]

_LABELS: dict[str, secrets_pb2.SecretLabel.ValueType] = {
    "current": secrets_pb2.SECRET_LABEL_CURRENT,
    "previous": secrets_pb2.SECRET_LABEL_PREVIOUS,
    "pending": secrets_pb2.SECRET_LABEL_PENDING,
}
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_NAME_RULE = (
    "a name is 1 to 128 of A-Z a-z 0-9 - _ . and begins and ends with a letter or a digit, never two dots in a row"
)


class HandleFacts:
    """What the two kinds of handle share. It shows no value, and can't be pickled; a copy of a handle is the handle."""

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._name = name

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        return self._namespace

    @property
    def name(self) -> str:
        """The secret's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} in {self._namespace!r}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret's handle can't be pickled: it belongs to its client")


class AsyncSecretHandle(HandleFacts):
    """A secret by its name, for asyncio. Comes from AsyncClient.secrets, and lives as long as its client.

    Making one touches no network. Its calls raise what vestry.errors lists: PermissionDenied, NotFound, FailedPrecondition
    for what can't be had (expired, destroyed, out of its grace period, sealed).
    """

    def __init__(self, namespace: str, name: str, open_cache: Callable[[], SecretCache]) -> None:
        super().__init__(namespace, name)
        self._open = open_cache
        self._used: tuple[SecretCache, LiveSecret] | None = None  # since the first call

    @property
    def version(self) -> int:
        """The current version as last heard; 0 when there is none, or nothing was heard yet."""
        return self._used[1].version if self._used else 0

    @property
    def is_live(self) -> bool:
        """Whether rotations are heard of at this moment. Otherwise a value may be as old as the client keeps one."""
        return self._used is not None and self._used[0].secrets(self._namespace).is_live

    async def reveal(self, *, label: Label = "current", version: int = 0) -> bytes:
        """Return the value with the label, or that of a version.

        Take it when you need it, and let it go: the client keeps it for `secret_cache_seconds`, and drops it as soon as
        the watch tells of any change. Only what is asked of the daemon is in its audit log, not what the client kept.
        While the daemon can't be reached, the last value is given until it is `secret_stale_seconds` old, with a
        warning in the log. Nothing is ever written to disk.
        """
        cache, secret = self._use()
        return await cache.reveal(secret, which(label, version))

    async def reveal_text(self, *, label: Label = "current", version: int = 0) -> str:
        """Return the value as the UTF-8 text that it is. Raises SecretNotText, and as `reveal`."""
        return as_text(await self.reveal(label=label, version=version), self)

    def peek(self, which: Which) -> bytes | None:
        """Return the value if it is in memory and fresh, to any thread: the library's own, not for its users."""
        if self._used is None:
            return None
        cache, secret = self._used
        return cache.peek(secret, which)

    def on_rotate(self, callback: Callable[[AsyncSecretHandle], Awaitable[None] | None]) -> RotationSubscription:
        """Call `callback(handle)` whenever another version becomes the current one; the next `reveal` gives its value.

        It runs on the client's event loop: a plain function must not block, a coroutine function runs as a task, once at
        a time. What it raises is logged. Rotations that follow each other fast may make one call. It takes the right to
        watch the namespace's secrets: without it, rotations are noticed when a value is asked for again. Cancel the
        subscription that is returned to stop. Raises LimitExceeded beyond 100 namespaces.
        """
        cache, secret = self._use()
        return cache.subscribe(secret, lambda: callback(self))

    async def put(
        self,
        content: bytes | secrets_pb2.Generator,
        *,
        settings: secrets_pb2.SecretSettings | None = None,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> secrets_pb2.PutSecretResponse:
        """Write a value, or one that the daemon makes, as the new current version. Raises VersionMismatch, Invalid."""
        request = secrets_pb2.PutSecretRequest(
            namespace=self._namespace,
            name=self._name,
            settings=settings,
            expected_version=expected_version,
            request_id=request_id or str(uuid.uuid4()),
        )
        set_content(request, content)
        cache, secret = self._use()
        try:
            return await cache.remote.write(cache.stub.PutSecret, request)
        finally:
            secret.drop()

    async def rotate(
        self,
        content: bytes | secrets_pb2.Generator | None = None,
        *,
        step: secrets_pb2.RotationStep.ValueType = secrets_pb2.ROTATION_STEP_UNSPECIFIED,
        grace: timedelta | None = None,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> secrets_pb2.RotateSecretResponse:
        """Rotate: to a value, to one that the daemon makes, or, with neither, by the secret's own generator.

        The version before still works for `grace`, or for as long as the secret's policy says.
        """
        request = secrets_pb2.RotateSecretRequest(
            namespace=self._namespace,
            name=self._name,
            step=step,
            expected_version=expected_version,
            request_id=request_id or str(uuid.uuid4()),
        )
        if grace is not None:
            request.grace.FromTimedelta(grace)
        set_content(request, content)
        cache, secret = self._use()
        try:
            return await cache.remote.write(cache.stub.RotateSecret, request)
        finally:
            secret.drop()

    async def metadata(self) -> secrets_pb2.Secret:
        """Return what is known of the secret beside its values, from the daemon."""
        cache, _ = self._use()
        request = secrets_pb2.GetSecretRequest(namespace=self._namespace, name=self._name)
        return (await cache.remote.call(cache.stub.GetSecret, request)).secret

    async def versions(self, *, page_size: int = 0) -> AsyncIterator[secrets_pb2.SecretVersion]:
        """Iterate over the versions, newest first, fetching `page_size` at a time (0: 50)."""
        token = ""
        while True:
            page = await self.versions_page(page_size=page_size, page_token=token)
            for version in page.versions:
                yield version
            token = page.next_page_token
            if not token:
                return

    async def versions_page(
        self, *, page_size: int = 0, page_token: str = ""
    ) -> secrets_pb2.ListSecretVersionsResponse:
        """Return one page of `versions`; the empty token is the first page's."""
        cache, _ = self._use()
        request = secrets_pb2.ListSecretVersionsRequest(
            namespace=self._namespace, name=self._name, page_size=page_size, page_token=page_token
        )
        return await cache.remote.call(cache.stub.ListSecretVersions, request)

    def _use(self) -> tuple[SecretCache, LiveSecret]:
        """Return what answers, and open the client for the first call. Raises ClientClosed, WrongEventLoop, ForkedProcess."""
        cache = self._open()
        if self._used is None:
            self._used = cache, cache.secrets(self._namespace).secret(self._name)
        return self._used


class AsyncSecrets:
    """The secrets of one namespace, by name. Comes from AsyncClient.secrets, and lives as long as its client."""

    __iter__: ClassVar[None] = None  # or Python would iterate by asking for the "names" 0, 1, 2, …

    def __init__(self, namespace: str, open_cache: Callable[[], SecretCache]) -> None:
        self.namespace = namespace
        self._open = open_cache
        self._handles: dict[str, AsyncSecretHandle] = {}  # name -> its one handle

    def __getitem__(self, name: str) -> AsyncSecretHandle:
        """Return the handle of a secret, which need not exist, the same one each time. Raises Invalid for a bad name."""
        if name not in self._handles:
            self._handles.setdefault(name, AsyncSecretHandle(self.namespace, check_name(name), self._open))
        return self._handles[name]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.namespace!r}>"


def check_name(name: str) -> str:
    """Return `name` if a secret can have it. Raises Invalid."""
    if not _NAME.fullmatch(name):
        violation = Violation("name", "pattern", _NAME_RULE)
        raise Invalid(f"{name!r} can't be a secret's name: {_NAME_RULE}", violations=[violation])
    return name


def which(label: Label, version: int) -> Which:
    """Return which value is meant. Raises ValueError for an unknown label."""
    if label not in _LABELS:
        raise ValueError(f"{label!r} is no label: it is one of {', '.join(_LABELS)}")
    return Which(version) if version else Which(label=_LABELS[label])


def as_text(value: bytes, handle: HandleFacts) -> str:
    """Return a value as text. Raises SecretNotText, whose context doesn't hold the value as Python's own error would."""
    text: str | None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise SecretNotText(handle.namespace, handle.name)
    return text


def set_content(
    request: secrets_pb2.PutSecretRequest | secrets_pb2.RotateSecretRequest,
    content: bytes | secrets_pb2.Generator | None,
) -> None:
    """Put the value, or what makes it, into a request; None is neither."""
    if isinstance(content, bytes):
        request.value = content
    elif content is not None:
        request.generator.CopyFrom(content)
