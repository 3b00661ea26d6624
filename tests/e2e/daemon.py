"""vestryd as a process: started over real sockets, told things by real signals, ended, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from e2e.notify import NotifySocket
from vestry import connect
from vestry.v1 import admin_pb2_grpc, config_pb2, config_pb2_grpc, tokens_pb2, tokens_pb2_grpc

T = TypeVar("T")

REPOSITORY = Path(__file__).parent.parent.parent
VESTRYD = (sys.executable, "-m", "vestryd")
PATIENCE_SECONDS = 20.0
_STEP_SECONDS = 0.005

# What a test doesn't choose. Files are taken in fast, and by their events: the poll is as slow as it can be.
SETTINGS: Mapping[str, object] = {"config.debounce_milliseconds": 20, "config.poll_seconds": 86_400}


class Daemon:
    """One vestryd on one directory, which holds its tree (`config`), its state, its sockets and its log.

    `settings` maps keys of vestryd.toml -> values. `start` and what follows may be repeated: the state stays. The stubs
    belong to the present run.
    """

    config: config_pb2_grpc.ConfigServiceStub
    admin: admin_pb2_grpc.AdminServiceStub

    def __init__(
        self,
        place: Path,
        settings: Mapping[str, object] | None = None,
        *,
        command: Sequence[str] = VESTRYD,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.tree = place / "config"
        self.state = place / "state"
        self.socket = place / "v.sock"
        self.target = f"unix:{self.socket}"
        self.notify = NotifySocket(place / "notify")
        self.settings: dict[str, object] = {
            "config.directory": self.tree,
            "state_directory": self.state,
            "listen.unix": self.socket,
            "listen.tcp": "127.0.0.1:0",
            **SETTINGS,
            **(settings or {}),
        }
        self._command = command
        self._environ = environ or {}
        self._log = place / "log"
        self._channel: grpc.Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the present run."""
        assert self._process
        return self._process.pid

    @property
    def tcp_target(self) -> str:
        """The address that the kernel chose for the present run."""
        address: str = self.lines("vestryd.ready")[-1]["listeners"][-1]
        return address

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.state / "vestry.db"

    def start(self) -> Self:
        """Start it, and return once it has said READY."""
        self.notify.drain()
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment())
        self.notify.wait_for("READY", unless=lambda: process.poll() is not None)
        self._channel = connect(self.target)
        self.config = config_pb2_grpc.ConfigServiceStub(self._channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self._channel)
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it until it ends by itself."""
        return subprocess.run(
            [*self._command, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Return its exit code once it has ended; negative for the signal that killed it."""
        assert self._process
        code = self._process.wait(seconds)
        if self._channel:
            self._channel.close()
            self._channel = None
        return code

    def stop(self) -> None:
        """End it politely."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0

    def kill(self) -> None:
        """End it as a power cut would, but for what the kernel has in its hands already."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def close(self) -> None:
        """End it, if it still runs, and let go of what the test held."""
        if self._process:
            self._process.kill()
            self.wait()
        self.notify.close()

    def log(self) -> str:
        """Return all that it has printed, in all its runs."""
        return self._log.read_text() if self._log.exists() else ""

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines about one kind of event."""
        return [line for line in map(_fields, self.log().splitlines()) if line.get("event") == event]

    def save(self, path: str, content: object) -> None:
        """Save a file of its tree as an editor does, aside and renamed; what isn't text or bytes as JSON."""
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.draft")
        if isinstance(content, bytes):
            draft.write_bytes(content)
        else:
            draft.write_text(content if isinstance(content, str) else json.dumps(content))
        draft.replace(target)

    def update(self, patch: object, namespace: str = "default", **fields: Any) -> config_pb2.UpdateConfigResponse:
        """Merge a patch into a namespace's runtime layer."""
        request = config_pb2.UpdateConfigRequest(namespace=namespace, merge_patch=json.dumps(patch).encode(), **fields)
        return self.config.UpdateConfig(request, timeout=PATIENCE_SECONDS)

    def get(self, namespace: str = "default") -> tuple[int, Any]:
        """Return a namespace's version and its document."""
        answer = self.config.GetConfig(config_pb2.GetConfigRequest(namespace=namespace), timeout=PATIENCE_SECONDS)
        return answer.version, json.loads(answer.value)

    def token(self, user: str = "tester", *groups: str) -> str:
        """Return a new token for a user; without groups, for an administrator."""
        request = tokens_pb2.CreateTokenRequest(user=user, groups=groups or ["vestry-administrators"])
        with connect(self.target) as channel:
            token: str = tokens_pb2_grpc.TokenServiceStub(channel).CreateToken(request, timeout=PATIENCE_SECONDS).token
        return token

    def status(self, namespace: str = "default") -> config_pb2.GetConfigStatusResponse:
        """Return how a namespace stands to its files."""
        request = config_pb2.GetConfigStatusRequest(namespace=namespace)
        return self.config.GetConfigStatus(request, timeout=PATIENCE_SECONDS)

    def _environment(self) -> dict[str, str]:
        ours = {f"VESTRY_{key.upper().replace('.', '_')}": str(value) for key, value in self.settings.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VESTRY_")}
        return {**inherited, **ours, "NOTIFY_SOCKET": str(self.notify.path), **self._environ}


def until(condition: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Return what `condition` returns once that is true; fail when it isn't in so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in {seconds:g} s it did not come to this: {what}"
        time.sleep(_STEP_SECONDS)
    return found


def _fields(line: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:  # not the daemon's own line
        return {}
    return fields
