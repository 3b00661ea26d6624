"""Known secrets go through everything that is done with secrets; then they are looked for where they must not be."""

from __future__ import annotations

import base64
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from e2e.canaries import Canaries
from e2e.ctl import COMMAND, ENVIRONMENT
from e2e.daemon import PATIENCE_SECONDS, Daemon
from e2e.mortal import Mortal
from vestry import Client, RemoteError
from vestry.auth_socket import fetch, path_beside
from vestry.v1 import seal_pb2, secrets_pb2, tokens_pb2

pytestmark = pytest.mark.e2e

NAMESPACE = "namespaces/default/secrets"
MAX_VALUE = 65_536


@dataclass
class Scene:
    """A daemon at debug level, what people do with it, and what they saw that they did not ask for."""

    place: Path
    daemon: Mortal
    canaries: Canaries = field(default_factory=Canaries)
    seen: list[bytes] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """Where the client library keeps configuration."""
        return self.place / "cache"

    @property
    def home(self) -> Path:
        """Where people keep their own files."""
        return self.place / "home"

    def write(self, name: str, content: str) -> str:
        """Write a person's file, and return its path."""
        self.home.mkdir(exist_ok=True)
        path = self.home / name
        path.write_text(content)
        path.chmod(0o600)
        return str(path)

    def ctl(self, *arguments: str, stdin: bytes = b"", asked_for: bool = False, code: int = 0) -> bytes:
        """Run vestryctl, and return what it printed: that was seen, unless a value was asked for."""
        done = subprocess.run(
            [*COMMAND, "--address", self.daemon.target, *arguments],
            env={**ENVIRONMENT, "XDG_STATE_HOME": str(self.place / "remembered")},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == code, done.stderr
        self.seen += [done.stderr] if asked_for else [done.stdout, done.stderr]
        return done.stdout

    def refused(self, call: Callable[..., object], *arguments: object) -> None:
        """Make a call that is refused, and keep all that the error says."""
        with pytest.raises((grpc.RpcError, RemoteError)) as caught:
            call(*arguments)
        error = caught.value
        details = error.trailing_metadata() if isinstance(error, grpc.Call) else ()
        self.seen.append(f"{error!r} {error} {details}".encode())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything has been done, and the daemon is still there."""
    place = tmp_path_factory.mktemp("c")
    canaries = Canaries()
    settings = {"log.level": "debug", "secrets.from_environment": "from-start=CANARY"}
    daemon = Mortal(place / "d", settings, {"CANARY": canaries.text("from the environment")})
    scene = Scene(place, daemon, canaries)
    daemon.save("default.json", {"database": {"password": {"$secret": f"{NAMESPACE}/text"}}, "port": 80})
    try:
        daemon.start()
        _put_and_rotate(scene)
        _generate(scene)
        _fail(scene)
        _move(scene)
        _use(scene)
        _seal(scene)
        _bear_tokens(scene)
        daemon.kill()
        daemon.start()
        assert daemon.reveal("binary") == canaries.values["binary"]
        yield scene
        assert '"level": "error"' not in daemon.log()
    finally:
        daemon.close()


@pytest.mark.parametrize("what", ["store", "audit log", "whole state", "daemon's log", "client's cache", "remembered"])
def test_no_canary_is_found(scene: Scene, what: str) -> None:
    """What is kept or written anywhere shows nothing of a value, a token or a passphrase."""
    places = {
        "store": [path for path in scene.daemon.state.iterdir() if path.name.startswith("vestry.db")],
        "audit log": [scene.daemon.state / "audit"],
        "whole state": [scene.daemon.state],
        "daemon's log": [scene.daemon.log_file],
        "client's cache": [scene.cache],
        "remembered": [scene.place / "remembered"],
    }
    assert scene.canaries.found_below(*places[what]) == {}


def test_no_canary_is_shown_unasked(scene: Scene) -> None:
    """No command prints what it wasn't asked for, no error repeats what was sent, and no handle shows its value."""
    assert [scene.canaries.found_in(one) for one in scene.seen if scene.canaries.found_in(one)] == []


def test_exports_hide_what_they_hold(scene: Scene) -> None:
    """The files of an export have neither values nor the passphrase."""
    assert len(list((scene.home / "backup").iterdir())) > 5
    assert scene.canaries.found_below(scene.home / "backup") == {}


def test_what_was_asked_for_is_found(scene: Scene) -> None:
    """The search works: it finds the values in what was rendered, which only its owner may read."""
    assert scene.canaries.found_below(scene.home / "app.env") == {"app.env": {"text 2"}}
    assert (scene.home / "app.env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [12, 24, 1000, MAX_VALUE])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_the_search_finds_each_form(length: int, shift: int) -> None:
    """However a value is written, and wherever in other content, it is found."""
    canaries = Canaries()
    value = canaries.binary("value", length)
    inside = os.urandom(shift) + value
    for content in (inside, inside.hex().encode(), base64.b64encode(inside), repr(value).encode()):
        assert canaries.found_in(os.urandom(50) + content) == {"value"}
    assert not canaries.found_in(os.urandom(100_000))


def test_a_crash_leaves_no_core(scene: Scene) -> None:
    """No core dump can be written."""
    assert resource.prlimit(scene.daemon.pid, resource.RLIMIT_CORE) == (0, 0)


def test_the_daemon_is_not_dumpable(tmp_path: Path) -> None:
    """What /proc shows of its memory belongs to root, as the kernel does with a process that nobody may dump."""
    somebody = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    code = "from vestryd.host.memory import protect; protect(); print('protected', flush=True); input()"
    with subprocess.Popen(
        [*somebody, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout
        if process.stdout.readline() != "protected\n":
            pytest.skip("no other user can run this Python here")
        files = Path(f"/proc/{process.pid}")
        assert [(files / name).stat().st_uid for name in ("mem", "environ", "maps")] == [0, 0, 0]
        process.kill()


def _put_and_rotate(scene: Scene) -> None:
    """Text and binary, short and long, put and rotated in every way; also on the command line."""
    canaries, daemon = scene.canaries, scene.daemon
    scene.ctl("secrets", "put", "text", stdin=canaries.text("text").encode())
    scene.ctl("secrets", "put", "short", stdin=canaries.text("short", 12).encode())
    scene.ctl("secrets", "put", "long", stdin=canaries.text("long", MAX_VALUE).encode())
    with Client(daemon.target, cache_dir=scene.cache) as client:
        client.secrets["binary"].put(canaries.binary("binary", MAX_VALUE))
        handle = client.secrets["blob"]
        handle.put(canaries.binary("blob", 40))
        assert handle.reveal() == canaries.values["blob"]
        scene.seen.append(f"{handle!r} {vars(handle)!r} {client.secrets!r}".encode())
        for step, name in ((secrets_pb2.ROTATION_STEP_PENDING, "pending"), (secrets_pb2.ROTATION_STEP_PENDING, "kept")):
            handle.rotate(canaries.binary(name, 40), step=step)
            end = secrets_pb2.ROTATION_STEP_ABANDON if name == "pending" else secrets_pb2.ROTATION_STEP_PROMOTE
            handle.rotate(step=end)
    scene.ctl("secrets", "rotate", "text", "--from-file", "-", "--grace", "1h", stdin=canaries.text("text 2").encode())
    shown = scene.ctl("secrets", "access", "text", "--previous", asked_for=True)
    assert shown == canaries.values["text"]
    for command in (["list"], ["get", "text"], ["versions", "blob"], ["rotations"]):
        scene.ctl("secrets", *command)
        scene.ctl("-o", "json", "secrets", *command)
    daemon.secrets.DestroySecretVersion(secrets_pb2.DestroySecretVersionRequest(name="blob", version=1))


def _generate(scene: Scene) -> None:
    """What the daemon makes is read back, and looked for as well."""
    for kind in ("password", "hex", "base64", "uuid", "ed25519"):
        scene.ctl("secrets", "put", f"generated-{kind}", "--generate", kind)
        value = scene.daemon.reveal(f"generated-{kind}")
        scene.canaries.keep(f"generated {kind}", value.splitlines()[-2][-30:] if b"PRIVATE" in value else value)
    scene.ctl("secrets", "rotate", "generated-hex", "--generate", "hex")
    scene.canaries.keep("rotated hex", scene.daemon.reveal("generated-hex"))


def _fail(scene: Scene) -> None:
    """What is refused is not repeated."""
    canaries, stub = scene.canaries, scene.daemon.secrets
    names = {"..": "bad name", "a/b": "a slash", "text": "another version", "x" * 129: "a long name"}
    for name, what in names.items():
        value = canaries.binary(what, 100)
        request = secrets_pb2.PutSecretRequest(name=name, value=value, expected_version=17)
        scene.refused(stub.PutSecret, request)
    too_large = secrets_pb2.PutSecretRequest(name="large", value=canaries.binary("too large", MAX_VALUE + 1))
    scene.refused(stub.PutSecret, too_large)
    huge = secrets_pb2.PutSecretRequest(name="huge", value=canaries.binary("far too large", 5_000_000))
    scene.refused(stub.PutSecret, huge)
    for number in range(2):
        request = secrets_pb2.PutSecretRequest(
            name="repeated", value=canaries.binary(f"repeated {number}", 50), request_id="a-request-id-1"
        )
        if number:
            scene.refused(stub.PutSecret, request)
        else:
            stub.PutSecret(request, timeout=PATIENCE_SECONDS)
    scene.ctl("secrets", "put", "large", stdin=canaries.text("too large a text", MAX_VALUE + 1).encode(), code=1)
    scene.ctl("secrets", "put", "..", stdin=canaries.text("bad name's text").encode(), code=1)


def _move(scene: Scene) -> None:
    """Out and in again: exported files, env files, and what is refused of them."""
    canaries = scene.canaries
    passphrase = scene.write("export-passphrase", canaries.text("export passphrase"))
    wrong = scene.write("wrong-passphrase", canaries.text("wrong passphrase"))
    backup = str(scene.home / "backup")
    scene.ctl("secrets", "export", backup, "--passphrase-file", passphrase)
    scene.ctl("secrets", "import", backup, "--passphrase-file", passphrase, "--on-conflict", "replace")
    scene.ctl("secrets", "import", backup, "--passphrase-file", wrong, code=1)
    env_file = scene.write(".env", f"FROM_FILE={canaries.text('env file')}\nTEXT={canaries.text('env conflict')}\n")
    scene.ctl("secrets", "import", "--env-file", env_file, "--dry-run")
    scene.ctl("secrets", "import", "--env-file", env_file)
    scene.write(".env", f"FROM_FILE={canaries.text('env other')}\n")
    scene.ctl("secrets", "import", "--env-file", env_file, code=4)
    scene.write(".env", f"NOT A LINE {canaries.text('env malformed')}\n")
    scene.ctl("secrets", "import", "--env-file", env_file, code=1)


def _use(scene: Scene) -> None:
    """References in configuration, through the cache of a client; programs, templates; and who may not."""
    text = scene.canaries.values["text 2"].decode()
    with Client(scene.daemon.target, cache_dir=scene.cache) as client:
        view = client.config()
        assert view.resolve("database.password") == text
        view.update({"port": 81})
        scene.seen.append(f"{view!r} {view.snapshot!r} {view.status()} {view.explain()}".encode())
    scene.ctl("config", "get")
    program = "import os, sys; sys.exit(not os.environ['P'] or os.environ['P'] != os.environ['Q'])"
    scene.ctl("run", "--secret", "P=text", "--config", "Q=database.password", "--", sys.executable, "-c", program)
    template = scene.write("app.env.tmpl", 'password={{ secret "text" }}\n')
    scene.ctl("render", template, "-f", str(scene.home / "app.env"))
    bad = scene.write("bad.tmpl", '{{ secret "text" }} {{ secret "nowhere" }}\n')
    scene.ctl("render", bad, "-f", str(scene.home / "bad.env"), code=1)


def _seal(scene: Scene) -> None:
    """Slots, and passphrases that are right, wrong and too short."""
    canaries, daemon = scene.canaries, scene.daemon
    passphrase = scene.write("slot-passphrase", canaries.text("slot passphrase"))
    wrong = scene.write("wrong-passphrase", canaries.text("slot passphrase that is wrong"))
    scene.ctl("slots", "add", "--passphrase-file", passphrase)
    scene.ctl("slots", "list")
    too_short = seal_pb2.UnlockSource(passphrase=canaries.text("short passphrase", 11))
    scene.refused(daemon.seals.AddUnlockSlot, seal_pb2.AddUnlockSlotRequest(source=too_short))
    scene.ctl("seal", "--yes")
    scene.refused(daemon.reveal, "text")
    scene.ctl("unseal", "--passphrase-file", wrong, code=1)
    scene.ctl("unseal", "--passphrase-file", passphrase)
    scene.ctl("status", code=1)  # the key lies beside the store, it says


def _bear_tokens(scene: Scene) -> None:
    """Tokens that are good, revoked, cut and invented; and what the auth socket gives."""
    canaries, daemon = scene.canaries, scene.daemon
    token = scene.ctl("token", "create", "--user", "alice", asked_for=True).strip()
    canaries.keep("token", token[-30:])
    scene.refused(_access_with, daemon, token.decode())
    scene.refused(_access_with, daemon, token.decode()[:-1])
    scene.refused(_access_with, daemon, "vestry_" + canaries.text("invented token", 40))
    scene.ctl("token", "list")
    created = daemon.token_service.ListTokens(tokens_pb2.ListTokensRequest()).tokens[0]
    scene.ctl("token", "revoke", created.token_id)
    scene.refused(_access_with, daemon, token.decode())
    local = fetch(path_beside(daemon.target), timeout_seconds=PATIENCE_SECONDS)
    assert local
    canaries.keep("local token", local.text[-30:].encode())
    scene.refused(_access_with, daemon, local.text + "x")
    scene.ctl("audit", "list")
    scene.ctl("audit", "verify")


def _access_with(daemon: Daemon, token: str) -> bytes:
    with Client(daemon.target, token=token) as client:
        return client.secrets["text"].reveal()
