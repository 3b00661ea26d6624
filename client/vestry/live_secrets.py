"""What a client knows of the secrets that it uses: the newest facts, and for a moment their values."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from vestry.errors import ClientClosed, VestryError
from vestry.rotations import Called, RotationSubscription
from vestry.v1 import secrets_pb2


class Which(NamedTuple):
    """Which value of a secret is meant: a version or, when that is 0, the one with the label."""

    version: int = 0
    label: secrets_pb2.SecretLabel.ValueType = secrets_pb2.SECRET_LABEL_CURRENT


CURRENT = Which()


@dataclass(slots=True)
class KeptValue:
    """A value in memory. Times are the cache's clock. It shows itself to nobody, and can't be pickled."""

    value: bytes = field(repr=False)
    version: int
    fetched_at: float
    fresh_until: float
    usable_until: float

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret's value can't be pickled or copied")


class LiveSecret:
    """One secret. Lives as long as its client. Only the client's event loop changes it; any thread may read.

    `version` is the current version as last heard, 0 when there is none. `generation` grows with all news: a value that
    was asked for before is not kept after, unless the news confirm it.
    """

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self.version = 0
        self.generation = 0
        self.values: dict[Which, KeptValue] = {}
        self.fetching = asyncio.Lock()  # so that many who ask at once make one call
        self._facts: secrets_pb2.Secret | None = None
        self._subscriptions: tuple[RotationSubscription, ...] = ()
        self._lock = threading.Lock()  # of who changes the subscriptions
        self._is_ended = False

    def announce(self, facts: secrets_pb2.Secret | None) -> None:
        """Take what the watch says of the secret, None for "it is deleted": whatever is news drops the values."""
        if facts is not None and facts == self._facts:
            return
        kept = self.values.get(CURRENT)
        is_confirmed = self._facts is None and facts is not None and kept and kept.version == facts.current_version
        self._facts = facts
        if not is_confirmed:
            self.drop()
        if facts is None:
            self.version = 0
        elif facts.current_version:
            self.learn(facts.current_version)

    def learn(self, version: int) -> None:
        """Take `version` for the current one, and tell who wants to know."""
        self.version = version
        for subscription in self._subscriptions:
            subscription.notify(version)

    def drop(self) -> None:
        """Forget the values, and those that are on their way."""
        self.generation += 1
        self.values = {}

    def forget(self, now: float) -> None:
        """Forget the values that are of no use any more at `now`."""
        self.values = {which: kept for which, kept in self.values.items() if kept.usable_until > now}

    def subscribe(self, call: Called) -> RotationSubscription:
        """Call `call` whenever the current version is another than the one known now. Raises ClientClosed."""
        if self._is_ended:
            raise ClientClosed
        secret = f"{self.namespace}/{self.name}"
        subscription = RotationSubscription(call, seen=self.version, forget=self._unsubscribe, secret=secret)
        with self._lock:
            self._subscriptions += (subscription,)
        return subscription

    def end(self) -> list[asyncio.Task[None]]:
        """Forget all, and return the tasks that run callbacks, cancelled: the client is closed."""
        self._is_ended = True
        self.drop()
        ended, self._subscriptions = self._subscriptions, ()
        return [task for subscription in ended if (task := subscription.end()) is not None]

    def _unsubscribe(self, subscription: RotationSubscription) -> None:
        with self._lock:
            self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)


class LiveSecrets:
    """The secrets of one namespace that a client uses. Lives as long as its client."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.error: VestryError | None = None
        self.refusal: VestryError | None = None
        self.is_live = False
        self.endings: list[asyncio.Task[None]] = []  # what is still to be awaited after `end`
        self._secrets: dict[str, LiveSecret] = {}  # name -> what is known of it, for those that are used
        self._facts: dict[str, secrets_pb2.Secret] = {}  # name -> what the watch said of it, for all
        self._is_ended = False

    def secret(self, name: str) -> LiveSecret:
        """Return what is known of a secret. Raises ClientClosed."""
        if self._is_ended:
            raise ClientClosed
        if name not in self._secrets:
            self._secrets[name] = LiveSecret(self.namespace, name)
            if name in self._facts:
                self._secrets[name].announce(self._facts[name])
        return self._secrets[name]

    def apply_state(self, state: secrets_pb2.SecretsState) -> None:
        """Take the whole namespace as it is now."""
        self._facts = {each.name: each for each in state.secrets}
        for name, secret in self._secrets.items():
            secret.announce(self._facts.get(name))

    def apply_change(self, change: secrets_pb2.SecretChange) -> None:
        """Take what became of one secret."""
        facts = change.secret
        if facts.HasField("delete_time"):
            self._facts.pop(facts.name, None)
        else:
            self._facts[facts.name] = facts
        if facts.name in self._secrets:
            self._secrets[facts.name].announce(self._facts.get(facts.name))

    def connected(self) -> None:
        """Say that news come from now on."""
        self.error = self.refusal = None
        self.is_live = True

    def disconnected(self, error: VestryError) -> None:
        """Say that no news come, and why."""
        self.error = error
        self.is_live = False

    def refuse(self, error: VestryError) -> None:
        """Say that this caller gets no news of the namespace."""
        self.refusal = error
        self.disconnected(error)

    def end(self) -> None:
        """Forget all values, and make no more calls: the client is closed."""
        self._is_ended = True
        self.is_live = False
        self.endings += [task for secret in self._secrets.values() for task in secret.end()]
