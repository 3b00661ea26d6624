from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ctl.authorities import certificate_in, extension, files_in, states
from ctl.running import Ctl
from vestryctl.commands.pki.authority import create

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


class TestInit:
    """A new CA."""

    def test_it_is_a_directory_for_its_owner_alone(self, ctl: Ctl, tmp_path: Path) -> None:
        """With a certificate, a key, and a list of nothing; nothing else is left behind."""
        told = ctl.json("pki", "init", str(tmp_path / "pki"), "--name", "Example CA")
        assert (told["name"], told["kind"], told["state"]) == ("Example CA", "ca", "valid")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()}
        assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "crl.pem": 0o644, "issued": 0o700}
        assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
        assert [path.name for path in tmp_path.iterdir()] == ["pki"]

    def test_it_may_sign_certificates_and_no_further_ca(self, ca: Path) -> None:
        """For ten years; its list of revoked certificates is signed, and counts as long."""
        root = certificate_in(ca / "ca.pem")
        assert extension(root, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=0)
        usage = extension(root, x509.KeyUsage)
        assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
        assert root.not_valid_after_utc - datetime.now(UTC) > 3649 * DAY
        crl = x509.load_pem_x509_crl((ca / "crl.pem").read_bytes())
        assert crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]  # it is a key that signs
        assert (list(crl), crl.next_update_utc) == ([], root.not_valid_after_utc)

    def test_an_empty_directory_will_do(self, ctl: Ctl, tmp_path: Path) -> None:
        """It becomes its owner's alone."""
        (tmp_path / "pki").mkdir(mode=0o755)
        assert ctl("pki", "init", str(tmp_path / "pki")).exit_code == 0
        assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700

    def test_nothing_is_overwritten(self, ctl: Ctl, ca: Path) -> None:
        """Neither a CA, nor anything else that is there."""
        before = files_in(ca)
        result = ctl("pki", "init", str(ca))
        assert (result.exit_code, files_in(ca)) == (1, before)
        assert "it is not empty" in result.stderr

    @pytest.mark.parametrize("name", ["file/pki", "no/such/pki", "file"])
    def test_where_no_directory_can_be(self, ctl: Ctl, tmp_path: Path, name: str) -> None:
        """A sentence says why."""
        (tmp_path / "file").touch()
        result = ctl("pki", "init", str(tmp_path / name))
        assert result.exit_code == 1
        assert "can't make the CA in" in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    @pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 65])
    def test_a_bad_name(self, ctl: Ctl, tmp_path: Path, name: str) -> None:
        """It stands in every certificate."""
        assert ctl("pki", "init", str(tmp_path / "pki"), "--name", name).exit_code == 2


class TestIssue:
    """A new certificate."""

    def test_a_server_has_the_names_that_it_is_reached_by(self, ctl: Ctl, ca: Path) -> None:
        """In its certificate, which is for servers, has a fresh key and lasts 90 days."""
        ctl.json("pki", "issue", str(ca), "vestryd", "--server", "--dns", "A.example", "--dns", "b", "--ip", "::1")
        leaf = certificate_in(ca / "vestryd" / "certificate.pem")
        names = extension(leaf, x509.SubjectAlternativeName)
        assert names.get_values_for_type(x509.DNSName) == ["a.example", "b"]
        assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["::1"]
        assert list(extension(leaf, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
        assert not extension(leaf, x509.BasicConstraints).ca
        assert timedelta(minutes=4) < datetime.now(UTC) - leaf.not_valid_before_utc < timedelta(minutes=6)
        assert 89 * DAY < leaf.not_valid_after_utc - datetime.now(UTC) <= 90 * DAY
        leaf.verify_directly_issued_by(certificate_in(ca / "ca.pem"))
        key = load_pem_private_key((ca / "vestryd" / "key.pem").read_bytes(), password=None)
        assert key.public_key() == leaf.public_key()

    def test_the_key_is_for_its_owner_alone(self, ctl: Ctl, ca: Path) -> None:
        """And so is the directory that it lies in."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        place = ca / "web"
        assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE(place.stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        ("options", "names", "caller"),
        [
            ((), [], "cn:web"),
            (("--dns", "b.example", "--dns", "a.example"), ["dns:b.example", "dns:a.example"], "dns:b.example"),
            (("--dns", "b.example", "--spiffe", SPIFFE), [SPIFFE, "dns:b.example"], SPIFFE),
            (("--ip", "192.0.2.1"), ["ip:192.0.2.1"], "cn:web"),
        ],
    )
    def test_it_tells_what_a_daemon_calls_a_client(
        self, ctl: Ctl, ca: Path, options: tuple[str, ...], names: list[str], caller: str
    ) -> None:
        """A policy knows the caller by it."""
        told = ctl.json("pki", "issue", str(ca), "web", "--client", *options)
        assert (told["names"], told["caller"]) == (names, caller)

    def test_a_server_without_names_is_called_after_its_own(self, ctl: Ctl, ca: Path) -> None:
        """A certificate without any would be accepted by nobody."""
        assert ctl.json("pki", "issue", str(ca), "vestryd", "--server")["names"] == ["dns:vestryd"]

    def test_a_name_is_issued_once(self, ctl: Ctl, ca: Path) -> None:
        """What has it stays as it is."""
        ctl.json("pki", "issue", str(ca), "web", "--client")
        before = files_in(ca)
        result = ctl("pki", "issue", str(ca), "web", "--client")
        assert (result.exit_code, files_in(ca)) == (1, before)
        assert "pki renew" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("web",),
            ("Web", "--client"),
            ("../web", "--client"),
            (".web", "--client"),
            ("", "--client"),
            ("x" * 65, "--client"),
            ("issued", "--client"),
            ("ca.pem", "--client"),
            ("web", "--client", "--spiffe", "spiffe://example.org"),
            ("web", "--client", "--spiffe", "https://example.org/web"),
            ("web", "--client", "--dns", "*.example.org"),
            ("web", "--client", "--ip", "localhost"),
            ("web", "--client", "--days", "0"),
            ("web", "--client", "--days", "99999999999"),
        ],
    )
    def test_what_a_daemon_would_refuse_is_not_issued(self, ctl: Ctl, ca: Path, arguments: tuple[str, ...]) -> None:
        """The command line is wrong, and nothing is made."""
        before = files_in(ca)
        assert ctl("pki", "issue", str(ca), *arguments).exit_code == 2
        assert files_in(ca) == before

    def test_a_certificate_does_not_outlive_its_ca(self, ctl: Ctl, tmp_path: Path) -> None:
        """It would fail before its time."""
        assert ctl("pki", "init", str(tmp_path / "pki"), "--days", "30").exit_code == 0
        result = ctl("pki", "issue", str(tmp_path / "pki"), "web", "--client")
        assert result.exit_code == 1
        assert "can't outlive its CA, which has 29 days left" in result.stderr
        assert ctl("pki", "issue", str(tmp_path / "pki"), "web", "--client", "--days", "29").exit_code == 0


class TestList:
    """What a CA has issued."""

    def test_a_table(self, ctl: Ctl, ca: Path) -> None:
        """The CA first, then names in order."""
        for name in ("web", "billing"):
            ctl.json("pki", "issue", str(ca), name, "--client", "--dns", f"{name}.example")
        lines = ctl("pki", "list", str(ca)).stdout.splitlines()
        assert lines[0].split() == ["NAME", "KIND", "NAMES", "EXPIRES", "SERIAL", "STATE"]
        assert [line.split()[0] for line in lines[1:]] == ["Test", "billing", "web"]
        assert "dns:billing.example" in lines[2]

    def test_it_needs_no_key(self, ctl: Ctl, ca: Path) -> None:
        """The key may be kept elsewhere meanwhile."""
        (ca / "ca-key.pem").unlink()
        assert states(ctl, ca, "Test CA") == ["valid"]


class TestBrokenDirectories:
    """What is wrong with a CA is told, with what to do."""

    @pytest.mark.parametrize("command", [("issue", "--client"), ("renew",), ("revoke",)])
    def test_no_ca(self, ctl: Ctl, tmp_path: Path, command: tuple[str, ...]) -> None:
        """How to make one."""
        result = ctl("pki", command[0], str(tmp_path), "web", *command[1:])
        assert result.exit_code == 1
        assert f"there is no CA in {tmp_path}: make one with 'vestryctl pki init {tmp_path}'" in result.stderr

    def test_no_key(self, ctl: Ctl, ca: Path) -> None:
        """It is kept somewhere, perhaps."""
        (ca / "ca-key.pem").unlink()
        result = ctl("pki", "issue", str(ca), "web", "--client")
        assert result.exit_code == 1
        assert "ca-key.pem is missing" in result.stderr

    @pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem", "crl.pem"])
    def test_garbage(self, ctl: Ctl, ca: Path, name: str) -> None:
        """The file is named."""
        (ca / name).write_text("hello")
        result = ctl("pki", "issue", str(ca), "web", "--client")
        assert result.exit_code == 1
        assert f"{name} doesn't hold" in result.stderr

    def test_the_key_of_another_ca(self, ctl: Ctl, ca: Path, tmp_path: Path) -> None:
        """It would issue what nobody accepts."""
        create(tmp_path / "other", name="Other", days=1, now=datetime.now(UTC))
        (tmp_path / "other" / "ca-key.pem").replace(ca / "ca-key.pem")
        result = ctl("pki", "issue", str(ca), "web", "--client")
        assert result.exit_code == 1
        assert "is not the key of" in result.stderr

    def test_an_expired_ca(self, ctl: Ctl, tmp_path: Path) -> None:
        """It issues nothing any more, and can still be listed."""
        create(tmp_path / "pki", name="Test CA", days=1, now=datetime.now(UTC) - 2 * DAY)
        result = ctl("pki", "issue", str(tmp_path / "pki"), "web", "--client")
        assert result.exit_code == 1
        assert "expired at" in result.stderr
        assert states(ctl, tmp_path / "pki", "Test CA") == ["expired"]

    def test_a_directory_that_cannot_be_written_to(self, ctl: Ctl, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is left there."""
        before = files_in(ca)

        def refuse(descriptor: int) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(os, "fsync", refuse)
        result = ctl("pki", "issue", str(ca), "web", "--client")
        monkeypatch.undo()
        assert result.exit_code == 1
        assert "Read-only file system" in result.stderr
        assert files_in(ca) == before
        assert list((ca / "issued").iterdir()) == []
