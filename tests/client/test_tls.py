"""TLS on the client's side: what it reads, what it refuses, and whom it believes."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from grpc import aio

from authority import Authority, replace
from vestry import connect
from vestry.channel import connect_async
from vestry.tls import Tls, TlsUnusable, handshake_problem

AUTHORITY = Authority()
SERVER = AUTHORITY.server()
CLIENT = AUTHORITY.issue("web")
PATIENCE_SECONDS = 10.0


class WhoAmI(grpc.GenericRpcHandler):
    """Answers each call with the common name of the peer's certificate."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        (name,) = context.auth_context()["x509_common_name"]
        return name


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer has set out of the tests."""
    for name in ("CA", "CERTIFICATE", "KEY", "SERVER_NAME"):
        monkeypatch.delenv(f"VESTRY_TLS_{name}", raising=False)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server that wants client certificates."""
    server = aio.server()
    server.add_generic_rpc_handlers((WhoAmI(),))
    pair = (SERVER.key_pem, SERVER.pem)
    credentials = grpc.ssl_server_credentials([pair], AUTHORITY.root.pem, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield port
    await server.stop(0)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """What a client needs in order to be known to that server."""
    certificate, key = CLIENT.write(tmp_path, "web")
    return Tls(replace(tmp_path / "ca.pem", AUTHORITY.root.pem), certificate, key)


async def ask(target: str, tls: Tls | None) -> str:
    async with connect_async(target, tls=tls) as channel:
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/WhoAmI")
        return (await method(b"", timeout=PATIENCE_SECONDS)).decode()


class TestConnecting:
    """Both sides are sure of each other, or nothing is said."""

    async def test_the_client_shows_its_certificate(self, port: int, tls: Tls) -> None:
        """And believes a server that its CA vouches for."""
        assert await ask(f"localhost:{port}", tls) == "web"

    async def test_the_environment_may_say_how(self, port: int, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the program doesn't."""
        for name, path in (("CA", tls.ca), ("CERTIFICATE", tls.certificate), ("KEY", tls.key)):
            monkeypatch.setenv(f"VESTRY_TLS_{name}", str(path))
        assert await ask(f"localhost:{port}", None) == "web"

    async def test_the_servers_name_must_be_right(self, port: int, tls: Tls) -> None:
        """An address that the certificate isn't for takes a server_name that it is for."""
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(f"127.0.0.1:{port}", tls)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await ask(f"127.0.0.1:{port}", Tls(tls.ca, tls.certificate, tls.key, "localhost")) == "web"

    async def test_another_ca_vouches_for_nobody(self, port: int, tls: Tls, tmp_path: Path) -> None:
        """It doesn't go on in plain text either."""
        other = replace(tmp_path / "other.pem", Authority().root.pem)
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(f"localhost:{port}", Tls(other, tls.certificate, tls.key))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    @pytest.mark.parametrize(
        ("mistake", "problem"),
        [
            ({"certificate": None, "key": None}, "wants TLS or another client certificate"),
            ({"ca": "other.pem"}, "not from the CA that was named"),
            ({"ca": "namesake.pem"}, "from another CA of the same name"),
            ({"server_name": ""}, "is for another host"),
        ],
    )
    async def test_a_failed_handshake_can_be_explained(
        self, port: int, tls: Tls, tmp_path: Path, mistake: dict[str, Any], problem: str
    ) -> None:
        """By what gRPC lets slip."""
        replace(tmp_path / "other.pem", Authority("Another").root.pem)
        replace(tmp_path / "namesake.pem", Authority().root.pem)
        if "ca" in mistake:
            mistake = {"ca": tmp_path / mistake["ca"]}
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(f"127.0.0.1:{port}", dataclasses.replace(tls, **{"server_name": "localhost"} | mistake))
        assert problem in handshake_problem(caught.value.details() or "")

    async def test_a_server_in_plain_text_is_not_talked_to(self, tls: Tls) -> None:
        """Whoever took the port learns nothing."""
        server = aio.server()
        server.add_generic_rpc_handlers((WhoAmI(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(f"127.0.0.1:{port}", tls)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "doesn't speak TLS" in handshake_problem(caught.value.details() or "")
        await server.stop(0)

    def test_a_unix_socket_has_no_tls(self, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
        """Asking for it is a mistake; the environment, which means other addresses, is none."""
        with pytest.raises(TlsUnusable, match="unix socket"):
            connect("unix:/run/v.sock", tls=tls)
        monkeypatch.setenv("VESTRY_TLS_CA", "/no/such/file")
        connect("unix:/run/v.sock").close()


class TestRefusals:
    """What can't work is refused before anything connects, with the file and the reason."""

    @pytest.mark.parametrize("name", ["ca", "certificate", "key"])
    def test_a_missing_file(self, tls: Tls, name: str) -> None:
        """Named, with the system's word for it."""
        path = Path(getattr(tls, name))
        path.unlink()
        with pytest.raises(TlsUnusable, match=f"{path.name} can't be read: No such file"):
            connect("localhost:1", tls=tls)

    @pytest.mark.parametrize(
        "content", [b"", b"hello", CLIENT.pem[:100], b"\xff\x00"], ids=["empty", "text", "half", "binary"]
    )
    @pytest.mark.parametrize("name", ["ca", "certificate", "key"])
    def test_what_is_not_pem(self, tls: Tls, name: str, content: bytes) -> None:
        """Nor half of it."""
        path = replace(Path(getattr(tls, name)), content)
        with pytest.raises(TlsUnusable, match=rf"{path.name}.* in PEM"):
            connect("localhost:1", tls=tls)

    def test_a_key_of_another_certificate(self, tls: Tls) -> None:
        """Both are named."""
        replace(Path(str(tls.key)), SERVER.key_pem)
        with pytest.raises(TlsUnusable, match=r"web-key.pem is not the key of the certificate in .*web.pem"):
            connect("localhost:1", tls=tls)

    def test_a_key_with_a_passphrase(self, tls: Tls) -> None:
        """Nobody is asked to type it."""
        encrypted = CLIENT.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        replace(Path(str(tls.key)), encrypted)
        with pytest.raises(TlsUnusable, match="the key is encrypted"):
            connect("localhost:1", tls=tls)

    def test_a_certificate_without_its_key(self, tls: Tls) -> None:
        """Nor a key alone."""
        for half in (Tls(tls.ca, certificate=tls.certificate), Tls(tls.ca, key=tls.key)):
            with pytest.raises(TlsUnusable, match="go together"):
                connect("localhost:1", tls=half)


class TestTheEnvironment:
    """What the variables say."""

    def test_unset_and_empty_variables_mean_no_tls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in an empty line of an environment file."""
        assert Tls.from_environment() is None
        monkeypatch.setenv("VESTRY_TLS_CA", "")
        assert Tls.from_environment() is None

    def test_all_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each says what its name says."""
        for name in ("CA", "CERTIFICATE", "KEY", "SERVER_NAME"):
            monkeypatch.setenv(f"VESTRY_TLS_{name}", name.lower())
        assert Tls.from_environment() == Tls("ca", "certificate", "key", "server_name")

    @pytest.mark.parametrize("name", ["CERTIFICATE", "KEY", "SERVER_NAME"])
    def test_without_a_ca_nothing_is_connected(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Whoever set one of them does not want plain text."""
        monkeypatch.setenv(f"VESTRY_TLS_{name}", "x")
        with pytest.raises(TlsUnusable, match=f"VESTRY_TLS_{name} needs VESTRY_TLS_CA"):
            connect("localhost:1")
