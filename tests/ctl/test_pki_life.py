from __future__ import annotations

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc import aio

from ctl.authorities import certificate_in, extension, states
from ctl.running import Ctl
from transports.secure_wire import PATIENCE_SECONDS, WhoAmI, ask
from vestry.channel import connect_async
from vestry.tls import Tls
from vestryctl.commands.pki import authority
from vestryctl.commands.pki.authority import create, opened
from vestryctl.failures import Failure
from vestryd.host.clock import SystemClock
from vestryd.transports.tls import ServerTls

DAY = timedelta(days=1)
SPIFFE = "spiffe://example.org/web"


@pytest.fixture
def ctl() -> Ctl:
    """The program; these commands need no daemon."""
    return Ctl("unix:/nowhere.sock")


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """The directory of a CA that has issued nothing yet."""
    directory = tmp_path / "pki"
    create(directory, name="Test CA", days=3650, now=datetime.now(UTC))
    return directory


class TestRenew:
    """Another certificate in the place of one."""

    def test_it_has_the_same_names_and_another_key(self, ctl: Ctl, ca: Path) -> None:
        """And lasts as long, from now on."""
        ctl.json("pki", "issue", str(ca), "web", "--client", "--spiffe", SPIFFE, "--dns", "web", "--days", "7")
        old = certificate_in(ca / "web" / "certificate.pem")
        ctl.json("pki", "renew", str(ca), "web")
        new = certificate_in(ca / "web" / "certificate.pem")
        for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage):
            assert extension(new, kind) == extension(old, kind)
        assert new.subject == old.subject
        assert new.serial_number != old.serial_number
        assert new.public_key() != old.public_key()
        life = new.not_valid_after_utc - new.not_valid_before_utc
        assert life == old.not_valid_after_utc - old.not_valid_before_utc
        key = load_pem_private_key((ca / "web" / "key.pem").read_bytes(), password=None)
        assert key.public_key() == new.public_key()
        assert states(ctl, ca, "web") == ["replaced", "valid"]

    def test_the_old_key_is_gone(self, ctl: Ctl, ca: Path) -> None:
        """What nobody needs, nobody can steal."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        ctl.json("pki", "renew", str(ca), "web")
        assert len(list((ca / "issued").glob("*/key.pem"))) == 1

    def test_it_can_last_longer_or_shorter(self, ctl: Ctl, ca: Path) -> None:
        """As --days says."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        ctl.json("pki", "renew", str(ca), "web", "--days", "1")
        assert certificate_in(ca / "web" / "certificate.pem").not_valid_after_utc <= datetime.now(UTC) + DAY

    def test_a_crash_leaves_the_old_pair_or_the_new_one(
        self, ctl: Ctl, ca: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever fails before the one step that counts, key and certificate belong together."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        before = (ca / "web" / "certificate.pem").read_bytes()

        def fail(link: Path, target: str) -> None:
            raise OSError(28, "No space left on device", str(link))

        monkeypatch.setattr(authority, "point", fail)
        result = ctl("pki", "renew", str(ca), "web")
        assert result.exit_code == 1
        assert "No space left on device" in result.stderr
        assert (ca / "web" / "certificate.pem").read_bytes() == before
        assert (ca / "web" / "key.pem").exists()

    @pytest.mark.parametrize("command", ["renew", "revoke"])
    def test_a_name_that_was_never_issued(self, ctl: Ctl, ca: Path, command: str) -> None:
        """There is nothing to begin with."""
        result = ctl("pki", command, str(ca), "web")
        assert result.exit_code == 1
        assert "has issued nothing under the name 'web'" in result.stderr


class TestRevoke:
    """Certificates that are taken back."""

    def test_all_of_a_name_is_revoked(self, ctl: Ctl, ca: Path) -> None:
        """What was replaced before as well, since it would be valid still; other names are not."""
        for name in ("web", "billing"):
            ctl.json("pki", "issue", str(ca), name, "--client")
        ctl.json("pki", "renew", str(ca), "web")
        told = ctl.json("pki", "revoke", str(ca), "web")
        assert (states(ctl, ca, "web"), states(ctl, ca, "billing")) == (["revoked"] * 2, ["valid"])
        crl = x509.load_pem_x509_crl((ca / "crl.pem").read_bytes())
        assert sorted(f"{each.serial_number:x}" for each in crl) == sorted(told["serials"])
        assert crl.is_signature_valid(certificate_in(ca / "ca.pem").public_key())  # type: ignore[arg-type]

    def test_the_list_grows(self, ctl: Ctl, ca: Path) -> None:
        """What was revoked stays revoked, and each list has the next number."""
        for count, name in enumerate(("web", "billing"), start=1):
            ctl.json("pki", "issue", str(ca), name, "--client")
            ctl.json("pki", "revoke", str(ca), name)
            crl = x509.load_pem_x509_crl((ca / "crl.pem").read_bytes())
            assert len(list(crl)) == count
            assert extension(crl, x509.CRLNumber).crl_number == count + 1  # type: ignore[arg-type]

    def test_nothing_is_revoked_twice(self, ctl: Ctl, ca: Path) -> None:
        """The second time it says so; a new certificate is good again, and can be revoked in turn."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        ctl.json("pki", "revoke", str(ca), "web")
        result = ctl("pki", "revoke", str(ca), "web")
        assert result.exit_code == 1
        assert "revoked already" in result.stderr
        ctl.json("pki", "renew", str(ca), "web")
        assert states(ctl, ca, "web") == ["revoked", "valid"]
        assert len(ctl.json("pki", "revoke", str(ca), "web")["serials"]) == 1


class TestExpiry:
    """What ends by itself."""

    def test_what_has_expired_says_so(self, tmp_path: Path) -> None:
        """And can't be revoked, since it is worth nothing."""
        then = datetime.now(UTC) - 10 * DAY
        create(tmp_path / "pki", name="Test CA", days=30, now=then)
        with opened(tmp_path / "pki", now=then) as ca:
            ca.issue("web", kind="client", spiffe=None, dns=(), ip=(), days=5)
        with opened(tmp_path / "pki", now=datetime.now(UTC)) as ca:
            assert [leaf.state for leaf in ca.leaves()] == ["valid", "expired"]
            with pytest.raises(Failure, match="expired or revoked already"):
                ca.revoke("web")


async def test_a_daemon_and_a_client_live_with_it(ctl: Ctl, ca: Path) -> None:
    """From issue over renewal to revocation, without a restart, and the caller is who `issue` said."""
    ctl.json("pki", "issue", str(ca), "vestryd", "--server", "--dns", "localhost")
    told = ctl.json("pki", "issue", str(ca), "web", "--client", "--spiffe", SPIFFE)
    server_files = (ca / "vestryd" / "certificate.pem", ca / "vestryd" / "key.pem")
    tls = ServerTls(*server_files, client_ca=ca / "ca.pem", crl=ca / "crl.pem", clock=SystemClock())
    server = aio.server()
    server.add_generic_rpc_handlers((WhoAmI(tls),))
    target = f"localhost:{server.add_secure_port('127.0.0.1:0', tls.credentials())}"
    await server.start()
    client = Tls(ca / "ca.pem", ca / "web" / "certificate.pem", ca / "web" / "key.pem")
    for name in ("vestryd", "web"):
        async with connect_async(target, tls=client) as channel:
            assert await ask(channel) == told["caller"] == SPIFFE
        ctl.json("pki", "renew", str(ca), name)
    assert tls.problem == ""
    async with connect_async(target, tls=client) as channel:
        assert await ask(channel) == SPIFFE
        ctl.json("pki", "revoke", str(ca), "web")
        assert "revoked" in await until_refused(channel)
    await server.stop(0)


async def until_refused(channel: aio.Channel) -> str:
    """Ask again and again until that fails, for so long, and return why it does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await ask(channel)
            except aio.AioRpcError as error:
                return error.details() or ""
            await asyncio.sleep(0.01)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_agrees(ctl: Ctl, ca: Path) -> None:
    """Another implementation accepts the certificates, strictly, and refuses the revoked one."""
    for name in ("web", "billing"):
        ctl.json("pki", "issue", str(ca), name, "--client", "--dns", name)
    ctl.json("pki", "revoke", str(ca), "web")
    for name, code in (("billing", 0), ("web", 2)):
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-crl_check"]
        command += ["-CAfile", str(ca / "ca.pem"), "-CRLfile", str(ca / "crl.pem"), str(ca / name / "certificate.pem")]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code
