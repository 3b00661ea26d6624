"""What a program is to get: values of configuration and secrets, read now, and heard of when they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from vestry import paths
from vestry.errors import DeadlineExceeded, FailedPrecondition, SecretWithheld, Unavailable, VestryError
from vestry.references import withheld
from vestry.v1 import config_pb2, secrets_pb2
from vestryctl.app import App
from vestryctl.diffs import compact
from vestryctl.failures import Failure, explain
from vestryctl.following import follow_config, follow_secrets
from vestryctl.wire import json_value

_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class SecretWanted:
    """The current value of a secret."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"secret {self.name} in {self.namespace}"

    def read(self, app: App) -> bytes:
        """Return the value."""
        request = secrets_pb2.AccessSecretRequest(namespace=self.namespace, name=self.name)
        return app.daemon.call(app.daemon.secrets.AccessSecret, request).value


@dataclass(frozen=True, slots=True)
class ConfigWanted:
    """A value in a namespace's document, with secrets in the place of references to them."""

    namespace: str
    keys: paths.Keys

    def __str__(self) -> str:
        return f"config {paths.to_pointer(self.keys) or '(all)'} in {self.namespace}"

    def read(self, app: App) -> bytes:
        """Return the value: a string as it is, anything else as JSON. Raises SecretWithheld."""
        pointer = paths.to_pointer(self.keys)
        request = config_pb2.GetConfigRequest(namespace=self.namespace, pointer=pointer, resolve_secrets=True)
        value = json_value(app.daemon.call(app.daemon.config.GetConfig, request).value)
        if reasons := withheld(value, pointer):
            raise SecretWithheld(self.namespace, reasons)
        return (value if isinstance(value, str) else compact(value)).encode(errors="surrogatepass")


Wanted = SecretWanted | ConfigWanted


class Changes:
    """Hears of changes of what is wanted, on threads of its own that end with the process.

    `announce` is called on those threads, perhaps more often than something changes. A watch that ends for good, as when
    the right to it is lost, is told on standard error, and nothing is heard from then on.
    """

    def __init__(self, app: App, wanted: set[Wanted], announce: Callable[[], None]) -> None:
        self._app = app
        self._wanted = wanted
        self._announce = announce

    def start(self) -> None:
        """Begin to listen."""
        secrets = sorted({each.namespace for each in self._wanted if isinstance(each, SecretWanted)})
        configs = sorted({each.namespace for each in self._wanted if isinstance(each, ConfigWanted)})
        for namespaces, changes in ((secrets, self._secret_changes), (configs, self._config_changes)):
            if namespaces:
                threading.Thread(target=self._listen, args=(namespaces, changes), daemon=True).start()

    def _listen(self, namespaces: list[str], changes: Callable[[list[str]], Iterator[None]]) -> None:
        while True:
            try:
                for _ in changes(namespaces):
                    self._announce()
            except (Unavailable, DeadlineExceeded, FailedPrecondition):  # it was never there, or is sealed
                time.sleep(_RETRY_SECONDS)
            except (VestryError, Failure) as error:
                told = str(error) if isinstance(error, Failure) else explain(error, address=self._app.named_address)
                self._app.err.line(f"vestryctl: changes are not heard of any more: {told}")
                return

    def _secret_changes(self, namespaces: list[str]) -> Iterator[None]:
        """Yield whenever the current version of a wanted secret is another than before."""
        versions: dict[SecretWanted, int] = {}
        for message in follow_secrets(self._app, namespaces):
            facts = list(message.state.secrets) if message.HasField("state") else [message.change.secret]
            for each in facts:
                secret = SecretWanted(each.namespace, each.name)
                if secret not in self._wanted or not each.current_version:
                    continue
                before = versions.get(secret)
                versions[secret] = each.current_version
                if before != each.current_version:
                    yield

    def _config_changes(self, namespaces: list[str]) -> Iterator[None]:
        """Yield whenever a wanted value of a document is another than before."""
        values: dict[ConfigWanted, object] = {}
        for message in follow_config(self._app, namespaces):
            if not message.HasField("update"):
                continue
            document = json_value(message.update.document)
            for each in self._wanted:
                if isinstance(each, ConfigWanted) and each.namespace == message.update.namespace:
                    value = _value_at(document, each.keys)
                    if each not in values or compact(values[each]) != compact(value):
                        yield
                    values[each] = value


def _value_at(document: object, keys: paths.Keys) -> object:
    try:
        return paths.resolve(document, keys)
    except KeyError:
        return None
