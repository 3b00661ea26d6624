from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from authority import DAY, FOR_SERVERS, HOUR, Authority, Issued, replace
from engine import FakeClock
from transports.secure_wire import (
    AUTHORITY,
    CLIENT,
    PATIENCE_SECONDS,
    SERVER,
    Place,
    answer,
    ask,
    channel,
    serving,
    shake_hands,
    shown_by,
)
from vestryd.transports.grpc_environment import ONLY_TLS_1_3


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Files that are in order."""
    return Place(tmp_path)


class TestHandshakes:
    """Who gets in."""

    async def test_a_client_of_the_ca_is_known_by_name(self, place: Place) -> None:
        """Whatever else is tried meanwhile."""
        async with serving(place):
            assert await answer(place) == "cn:web"

    @pytest.mark.parametrize(
        "client",
        [
            None,
            Authority("Another").issue(),
            Authority().issue(),
            AUTHORITY.issue(begin=-2 * DAY, end=-HOUR),
            AUTHORITY.issue(begin=HOUR),
            AUTHORITY.issue(usage=FOR_SERVERS),
        ],
        ids=["none", "wrong CA", "wrong CA of the same name", "expired", "not yet valid", "for servers"],
    )
    async def test_any_other_client_is_refused_in_the_handshake(self, place: Place, client: Issued | None) -> None:
        """No call of it reaches the daemon."""
        async with serving(place):
            assert await answer(place, client) == "UNAVAILABLE"

    async def test_a_certificate_without_a_name_is_refused(self, place: Place) -> None:
        """At the call, since TLS itself has nothing against it."""
        async with serving(place):
            assert await answer(place, AUTHORITY.issue(None)) == "UNAUTHENTICATED"

    async def test_a_revoked_certificate_is_refused_on_a_live_connection(self, place: Place) -> None:
        """The next call fails, and so does a new connection."""
        place.crl = replace(place.directory / "crl.pem", AUTHORITY.crl())
        async with serving(place), channel(place) as connection:
            assert await ask(connection) == "cn:web"
            replace(place.crl, AUTHORITY.crl([CLIENT]))
            await until_refused(connection)
            assert await answer(place) == "UNAUTHENTICATED"
            assert await answer(place, AUTHORITY.issue("other")) == "cn:other"

    async def test_without_a_client_ca_nobody_is_asked(self, place: Place) -> None:
        """The connection is private, and its caller unknown."""
        async with serving(place, client_ca=False):
            assert await answer(place, None) == "anonymous"

    async def test_a_client_that_believes_another_ca_does_not_connect(self, place: Place) -> None:
        """The server is proved to the client, too."""
        async with serving(place):
            assert await answer(place, ca=Authority()) == "UNAVAILABLE"

    async def test_plain_text_is_not_answered(self, place: Place) -> None:
        """TLS is no offer on a port that has it."""
        async with serving(place, client_ca=False), aio.insecure_channel(f"127.0.0.1:{place.port}") as connection:
            with pytest.raises(aio.AioRpcError):
                await ask(connection)


class TestRotation:
    """Files that change under the running server."""

    async def test_a_new_certificate_is_shown_from_the_next_handshake_on(self, place: Place) -> None:
        """And connections that are up stay up."""
        async with serving(place, client_ca=False), channel(place, None) as connection:
            assert await ask(connection) == "anonymous"
            assert await shown_by(place) == der(SERVER)
            issued = place.rotate()
            assert await shown_by(place) == der(issued)
            assert await ask(connection) == "anonymous"
            assert (place.tls.problem, place.tls.expires) == ("", issued.certificate.not_valid_after_utc)

    async def test_a_new_client_ca_counts_from_the_next_handshake_on(self, place: Place) -> None:
        """Who has a certificate of the new one gets in, who has one of the old one doesn't."""
        other = Authority("Another")
        async with serving(place):
            assert await answer(place) == "cn:web"
            replace(place.client_ca, other.root.pem)
            assert await answer(place, other.issue("new")) == "cn:new"
            assert await answer(place) == "UNAVAILABLE"

    @pytest.mark.parametrize(
        ("replacement", "problem"),
        [
            (b"", "doesn't hold certificates"),
            (SERVER.pem[:200], "doesn't hold certificates"),
            (AUTHORITY.server().pem, "is not the key of the certificate"),
            (None, "No such file"),
        ],
        ids=["empty", "half", "of another key", "gone"],
    )
    async def test_a_broken_replacement_changes_nothing(
        self, place: Place, replacement: bytes | None, problem: str
    ) -> None:
        """The old certificate is served on, the problem told, and both end when the files are mended."""
        async with serving(place, client_ca=False):
            if replacement is None:
                place.certificate.unlink()
            else:
                replace(place.certificate, replacement)
            assert await shown_by(place) == der(SERVER)
            assert problem in place.tls.problem
            assert "stays in use" in place.tls.problem
            issued = place.rotate()
            assert await shown_by(place) == der(issued)
            assert place.tls.problem == ""

    async def test_an_expired_replacement_changes_nothing(self, place: Place) -> None:
        """Though certificate and key belong together."""
        async with serving(place, client_ca=False):
            AUTHORITY.server(begin=-2 * DAY, end=-DAY).write(place.directory, "server")
            assert await shown_by(place) == der(SERVER)
            assert "it expired at" in place.tls.problem

    async def test_a_look_at_the_problem_does_not_swallow_the_news(self, place: Place) -> None:
        """The next handshake gets what `problem` has read already."""
        async with serving(place, client_ca=False):
            issued = place.rotate()
            assert place.tls.problem == ""
            assert await shown_by(place) == der(issued)

    def test_a_certificate_near_its_end_is_told(self, place: Place) -> None:
        """When less than a tenth of its life is left, and after it."""
        clock = FakeClock(datetime.now(UTC))
        tls = place.open(clock=clock)
        assert tls.problem == ""
        clock.advance(hours=22)
        assert "server.pem ends at" in tls.problem
        clock.advance(hours=3)
        assert "server.pem ended at" in tls.problem


SERVE = """
import asyncio, sys
from pathlib import Path
from grpc import aio
from vestryd.host.clock import SystemClock
from vestryd.transports.tls import ServerTls

async def main(certificate, key):
    server = aio.server()
    tls = ServerTls(Path(certificate), Path(key), clock=SystemClock())
    print(server.add_secure_port("127.0.0.1:0", tls.credentials()), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)

asyncio.run(main(*sys.argv[1:]))
"""


class TestTheVersion:
    """TLS 1.3 and nothing else."""

    def test_tls_1_2_is_not_spoken(self, place: Place) -> None:
        """With the variable that vestryd sets before it loads gRPC, which a process reads once."""
        name, value = ONLY_TLS_1_3
        command = [sys.executable, "-c", SERVE, str(place.certificate), str(place.key)]
        environment = {**os.environ, name: value, "GRPC_VERBOSITY": "NONE", "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout
            assert process.stdin
            port = int(process.stdout.readline())
            assert shake_hands(port, ssl.TLSVersion.TLSv1_3)[0] == "TLSv1.3"
            with pytest.raises((ssl.SSLError, ConnectionError)):
                shake_hands(port, ssl.TLSVersion.TLSv1_2)
            process.stdin.close()


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


async def until_refused(connection: aio.Channel) -> None:
    """Ask again and again until the caller is no longer known, for so long."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await code_of(connection) is not grpc.StatusCode.UNAUTHENTICATED:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def code_of(connection: aio.Channel) -> grpc.StatusCode:
    try:
        await ask(connection)
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
