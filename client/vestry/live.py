"""What a client knows about one namespace, and who wants to hear when that changes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from vestry import paths
from vestry.errors import ClientClosed, ForkedProcess, VestryError
from vestry.frozen import is_same
from vestry.snapshot import Change, Snapshot
from vestry.v1 import config_pb2

Callback = Callable[[Any, Any], None]

log = logging.getLogger(__name__)


class LiveConfig:
    """The newest snapshot of one namespace and how fresh it is. Lives as long as its client.

    One thread writes it, the one that runs the watch. Any thread may read: a read takes no lock, and one attribute
    holds the whole of a version. `error` tells why it is not live. `refusal` is the daemon's last word, that this
    caller can't have the namespace.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.snapshot = Snapshot(namespace, 0, {})
        self.rejection: config_pb2.Rejection | None = None
        self.error: VestryError | None = None
        self.refusal: VestryError | None = None
        self.is_ended = False
        self._is_connected = False
        self._heard_at = time.monotonic()
        self._process_id = os.getpid()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._condition = threading.Condition()  # what threads wait on, and the lock of who writes
        self._changed = asyncio.Event()  # what tasks wait on; replaced whenever it is set

    @property
    def has_state(self) -> bool:
        """Whether there is anything to read."""
        return self.snapshot.version > 0

    @property
    def is_live(self) -> bool:
        """Whether the snapshot follows the daemon at this moment, in this process."""
        return self._is_connected and not self.is_ended and self._process_id == os.getpid()

    @property
    def age_seconds(self) -> float:
        """The seconds since the daemon was last heard about this namespace."""
        return max(0.0, time.monotonic() - self._heard_at)

    def apply(self, snapshot: Snapshot) -> None:
        """Put `snapshot` in force and tell who waits for it. What is in force already changes nothing."""
        if (snapshot.version, snapshot.checksum) == (self.snapshot.version, self.snapshot.checksum):
            return
        with self._condition:
            self.snapshot = snapshot
            subscriptions = self._subscriptions
        for subscription in subscriptions:
            subscription.notify(snapshot)
        self._wake()

    def connected(self) -> None:
        """Say that the snapshot follows the daemon from now on."""
        self.error = self.refusal = None
        self._is_connected = True
        self.heard()

    def heard(self) -> None:
        """Say that the daemon spoke just now."""
        if self._is_connected:
            self._heard_at = time.monotonic()

    def disconnected(self, error: VestryError) -> None:
        """Say that the daemon is lost; what is in force stays readable."""
        self.error = error
        self._is_connected = False
        self._wake()

    def refuse(self, error: VestryError) -> None:
        """Say that the daemon won't serve this namespace; what is in force stays readable."""
        self.refusal = error
        self.disconnected(error)

    def restore(self, snapshot: Snapshot, *, age_seconds: float) -> None:
        """Put a copy that was kept on disk in force, unless there is something newer already."""
        if not self.has_state:
            self._heard_at = time.monotonic() - age_seconds
            self.apply(snapshot)

    def end(self) -> None:
        """Let everybody who waits go: the client is closed."""
        self.is_ended = True
        self._subscriptions = ()
        self._wake()

    def subscribe(self, keys: paths.Keys, callback: Callback) -> Subscription:
        """Call `callback` with the old and the new value whenever the value at `keys` changes from what it is now."""
        if inspect.iscoroutinefunction(callback):
            raise TypeError("an on_change callback must be a plain function: use changes() to await things")
        if self.is_ended:
            raise ClientClosed
        self._check_process()
        with self._condition:
            subscription = Subscription(self, keys, callback)
            self._subscriptions += (subscription,)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription. Idempotent."""
        with self._condition:
            self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    async def first_state(self) -> None:
        """Wait until there is something to read. Raises the refusal when the daemon refuses, or ClientClosed."""
        while not self.has_state:
            if self.is_ended:
                raise ClientClosed
            if self.refusal is not None:
                raise self.refusal
            await self._changed.wait()

    async def reach(self, version: int) -> None:
        """Wait until `version` or a later one is in force here; give up when the daemon is lost."""
        while self.snapshot.version < version and self._is_connected and not self.is_ended:
            await self._changed.wait()

    async def next_change(self, seen: Snapshot) -> Change | None:
        """Wait, as a task, until something else than `seen` is in force; None once the client is closed."""
        self._check_process()
        while self.snapshot is seen and not self.is_ended:
            await self._changed.wait()
        return self._change_since(seen)

    def wait_for_change(self, seen: Snapshot) -> Change | None:
        """Wait, as a thread, until something else than `seen` is in force; None once the client is closed."""
        self._check_process()
        with self._condition:
            self._condition.wait_for(lambda: self.is_ended or self.snapshot is not seen)
        return self._change_since(seen)

    def _check_process(self) -> None:
        """Raise ForkedProcess in a child: nothing changes there any more, so nobody would be told."""
        if self._process_id != os.getpid():
            raise ForkedProcess

    def _change_since(self, seen: Snapshot) -> Change | None:
        current = self.snapshot
        return None if current is seen else Change(seen, current)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        with self._condition:
            self._condition.notify_all()


class Subscription:
    """A callback's registration. Lives until `cancel`, or until its client is closed."""

    def __init__(self, live: LiveConfig, keys: paths.Keys, callback: Callback) -> None:
        self._live = live
        self._keys = keys
        self._callback = callback
        self._value = _value_at(live.snapshot, keys)

    def cancel(self) -> None:
        """Stop the calls; one that is under way finishes. Idempotent."""
        self._live.unsubscribe(self)

    def notify(self, snapshot: Snapshot) -> None:
        """Call the callback if its value changed. What it raises is logged, and hurts nobody else."""
        old, self._value = self._value, _value_at(snapshot, self._keys)
        if is_same(old, self._value):
            return
        try:
            self._callback(old, self._value)
        except Exception:
            log.exception("config.callback_failed namespace=%s version=%d", snapshot.namespace, snapshot.version)


def _value_at(snapshot: Snapshot, keys: paths.Keys) -> Any:
    """Return the value at `keys`, None when there is none; an effective document's objects hold no null (RFC 7396)."""
    try:
        return paths.resolve(snapshot.document, keys)
    except KeyError:
        return None
