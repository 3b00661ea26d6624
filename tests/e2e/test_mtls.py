"""Callers on TCP with certificates from `vestryctl pki`: known by name, revoked, and renewed without a restart."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from e2e.ctl import COMMAND, ENVIRONMENT
from e2e.daemon import PATIENCE_SECONDS, until
from e2e.ending import ends_soon, watch_secrets
from e2e.failures import failed
from e2e.mortal import Mortal, mortal
from vestry import connect
from vestry.tls import Tls
from vestry.v1 import secrets_pb2, secrets_pb2_grpc

pytestmark = pytest.mark.e2e

RULE = {"actions": ["secrets.access", "secrets.watch"], "resources": ["namespaces/default/**"]}


@dataclass
class Place:
    """A CA, and a daemon that serves TCP with a certificate of it."""

    authority: Path
    files: Path
    daemon: Mortal

    def pki(self, command: str, *arguments: str) -> None:
        """Run `vestryctl pki …` on the CA."""
        subprocess.run(
            [*COMMAND, "pki", command, str(self.authority), *arguments],
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )

    def install(self) -> None:
        """Copy what the daemon needs to where it looks, as an administrator does: whole files, one after the other."""
        self.files.mkdir(exist_ok=True)
        server = self.authority / "vestryd"
        for path in (
            self.authority / "ca.pem",
            self.authority / "crl.pem",
            server / "key.pem",
            server / "certificate.pem",
        ):
            draft = self.files / f".{path.name}"
            shutil.copy(path, draft)
            draft.replace(self.files / path.name)

    def tls(self, name: str) -> Tls:
        """Return how the bearer of a certificate connects."""
        leaf = self.authority / name
        return Tls(self.authority / "ca.pem", leaf / "certificate.pem", leaf / "key.pem")

    def channel(self, name: str) -> grpc.Channel:
        """Return a new connection of the bearer of a certificate."""
        return connect(self.daemon.tcp_target, tls=self.tls(name))

    def shown(self) -> bytes:
        """Return the certificate that the daemon shows in a new handshake."""
        context = ssl.create_default_context(cafile=self.authority / "ca.pem")
        leaf = self.authority / "billing"
        context.load_cert_chain(leaf / "certificate.pem", leaf / "key.pem")
        host, _, port = self.daemon.tcp_target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A daemon that knows `cn:billing` and `spiffe://example.org/web`, and lets only the first have secrets."""
    files = tmp_path / "tls"
    settings = {
        "listen.tls_certificate": files / "certificate.pem",
        "listen.tls_key": files / "key.pem",
        "listen.tls_client_ca": files / "ca.pem",
        "listen.tls_crl": files / "crl.pem",
    }
    with mortal(tmp_path / "d", settings) as daemon:
        place = Place(tmp_path / "pki", files, daemon)
        place.pki("init")
        place.pki("issue", "vestryd", "--server", "--ip", "127.0.0.1")
        place.pki("issue", "billing", "--client")
        place.pki("issue", "web", "--client", "--spiffe", "spiffe://example.org/web")
        place.install()
        daemon.start()
        daemon.put("password", b"hunter2")
        daemon.rule("billing", {**RULE, "subjects": ["cn:billing"]})
        yield place


def access(channel: grpc.Channel) -> bytes | tuple[str, str]:
    """Return the value, or the reason and the message of the refusal."""
    request = secrets_pb2.AccessSecretRequest(name="password")
    try:
        return secrets_pb2_grpc.SecretsServiceStub(channel).AccessSecret(request, timeout=PATIENCE_SECONDS).value
    except grpc.RpcError as error:
        refusal = failed(error)
        return refusal.reason, refusal.message


def test_the_certificate_names_the_caller(place: Place) -> None:
    """By its CN or its SPIFFE ID, as the policy knows it."""
    with place.channel("billing") as billing, place.channel("web") as web:
        assert access(billing) == b"hunter2"
        refused = access(web)
        assert refused[0] == "PERMISSION_DENIED"
        assert "spiffe://example.org/web" in str(refused[1])
        place.daemon.rule("web", {**RULE, "subjects": ["spiffe://example.org/web"]})
        assert access(web) == b"hunter2"


def test_a_revoked_certificate_ends_what_it_began(place: Place) -> None:
    """Its watch within a second, and its calls, also on the connection that is up; others go on."""
    place.daemon.rule("web", {**RULE, "subjects": ["spiffe://example.org/web"]})
    with place.channel("billing") as billing, place.channel("web") as web:
        assert access(billing) == b"hunter2"
        with ends_soon(lambda: watch_secrets(billing), "UNAUTHENTICATED"):
            place.pki("revoke", "billing")
            place.install()
        assert access(billing)[0] == "CREDENTIALS_INVALID"
        assert access(web) == b"hunter2"
    place.pki("renew", "billing")
    with place.channel("billing") as renewed:
        assert access(renewed) == b"hunter2"


def test_a_renewed_certificate_is_shown_without_a_restart(place: Place) -> None:
    """New handshakes see it; connections that are up don't notice."""
    with place.channel("billing") as billing:
        assert access(billing) == b"hunter2"
        before = place.shown()
        place.pki("renew", "vestryd")
        place.install()
        wanted = ssl.PEM_cert_to_DER_cert((place.files / "certificate.pem").read_text())
        assert wanted != before
        until(lambda: place.shown() == wanted, "the new certificate is shown")
        assert access(billing) == b"hunter2"
    with place.channel("billing") as another:
        assert access(another) == b"hunter2"
    assert place.daemon.problems("tls") == []
