"""The servers that are measured: each in a process of its own, on a loopback port, gone when its measurement is over."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from bench.calls import Call, payload, range_of
from bench.http2 import ServerRefused, ask
from vestry import connect
from vestry.v1 import tokens_pb2, tokens_pb2_grpc

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
TREE = "tree"  # the configuration, in a daemon's directory
STATE = "state"  # and what it keeps
LOOK_EVERY_SECONDS = 0.001
SETTLED_SECONDS = 0.5

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "service": {
            "type": "object",
            "properties": {"note": {"type": "string", "maxLength": 400}},
            "required": ["note"],
        },
    },
    "required": ["service"],
    "additionalProperties": False,
}


class Server:
    """A server that is ready, in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, make_token: Callable[[], str] = str) -> None:
        self.port = port
        self._make_token = make_token
        self._pid = process.pid

    @cached_property
    def token(self) -> str:
        """The token that callers need; made when it is first asked for, as no start is to be measured with it."""
        return self._make_token()

    def ask(self, call: Call, number: int = 0) -> bytes:
        """Make one call, and return the message that answers it. Raises ServerRefused."""
        return ask(self.port, call.path, call.message(number), self.token)

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has had, user and system, in all its threads.

        A process has a clock whose id is made of its pid: clock_getcpuclockid(3).
        """
        return time.clock_gettime(~self._pid << 3 | 2)

    def resident_bytes(self) -> int:
        """Return the process's resident memory once it has stopped to change."""
        deadline = time.monotonic() + READY_SECONDS
        size, settled_at = self._resident_bytes(), time.monotonic() + SETTLED_SECONDS
        while settled_at > time.monotonic() < deadline:
            time.sleep(SETTLED_SECONDS / 10)
            now = self._resident_bytes()
            if now != size:
                size, settled_at = now, time.monotonic() + SETTLED_SECONDS
        return size

    def _resident_bytes(self) -> int:
        pages = Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


def has_etcd() -> bool:
    """Tell whether there is an etcd to compare with."""
    return shutil.which("etcd") is not None


def home(directory: Path, namespace: str) -> Path:
    """Return where the files of a namespace are, of a daemon that keeps everything in `directory`."""
    return directory / TREE / "namespaces" / namespace


def _plant(directory: Path, namespaces: Iterable[str]) -> None:
    """Write the configuration: each namespace has a schema and, in its default layer, the payload."""
    for namespace in namespaces:
        place = home(directory, namespace)
        place.mkdir(parents=True)
        (place / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
        (place / "default.json").write_bytes(payload(0))


@contextmanager
def vestryd(directory: Path, namespaces: Iterable[str] = (), *, keep_versions: int = 1000) -> Iterator[Server]:
    """Run a daemon with new namespaces, on TCP, with everything that it keeps in `directory`."""
    _plant(directory, namespaces)
    log = directory / "vestryd.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "vestryd", f"--config-directory={directory / TREE}"]
    command += [f"--state-directory={directory / STATE}", f"--listen-unix={directory / 'v.sock'}"]
    command += ["--listen-tcp=127.0.0.1:0"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VESTRY_")}
    environ |= {"VESTRY_HISTORY_VERSIONS": str(keep_versions), "VESTRY_LOG_FORMAT": "json"}
    with _process(command, log, environ) as process:
        port = _await(process, log, lambda: _port_in(log))
        yield Server(process, port, lambda: _token(f"unix:{directory / 'v.sock'}"))


def _token(target: str) -> str:
    """Return a token for a user who may do everything."""
    with closing(connect(target)) as channel:
        request = tokens_pb2.CreateTokenRequest(user="root", groups=["vestry-administrators"])
        token: str = tokens_pb2_grpc.TokenServiceStub(channel).CreateToken(request, timeout=READY_SECONDS).token
    return token


@contextmanager
def etcd(directory: Path) -> Iterator[Server | None]:
    """Run a single etcd member with its data in `directory`; None when etcd is not installed."""
    if not has_etcd():
        yield None
        return
    port, peers = _free_port(), _free_port()
    client_url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    command = ["etcd", "--name=bench", f"--data-dir={directory / 'etcd'}", "--log-level=error", "--logger=zap"]
    command += [f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}"]
    command += [f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"]
    command += [f"--initial-cluster=bench={peer_url}"]
    log = directory / "etcd.log"
    with _process(command, log, os.environ) as process:
        _await(process, log, lambda: _port_if_serving(port))
        yield Server(process, port)


@contextmanager
def floor(directory: Path, answer: bytes) -> Iterator[Server]:
    """Run the least that a server on grpc.aio can be: it answers every call with the same bytes."""
    log = directory / "floor.log"
    with _process([sys.executable, "-m", "bench.floor", answer.hex()], log, os.environ) as process:
        port = _await(process, log, lambda: _port_printed(log))
        yield Server(process, port)


@contextmanager
def _process(command: list[str], log: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environ) as process:
        try:
            yield process
            process.terminate()
            process.wait(STOP_SECONDS)
        finally:
            process.kill()


def _await(process: subprocess.Popen[bytes], log: Path, look: Callable[[], int]) -> int:
    """Return the port that `look` finds once the server is ready; it returns 0 before that."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        port = look()
        if port:
            return port
        time.sleep(LOOK_EVERY_SECONDS)
    raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text(encoding='utf-8')[-4000:]}")


def _port_in(log: Path) -> int:
    for line in log.read_bytes().splitlines():
        if b"vestryd.ready" in line and line.endswith(b"}"):
            return int(json.loads(line)["listeners"][-1].rpartition(":")[2])
    return 0


def _port_printed(log: Path) -> int:
    return next((int(line) for line in log.read_bytes().splitlines() if line.isdigit()), 0)


def _port_if_serving(port: int) -> int:
    probe = range_of("probe", serializable=False)
    try:
        ask(port, probe.path, probe.message(0))
    except (OSError, ServerRefused):
        return 0
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
