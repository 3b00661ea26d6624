from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from authority import DAY, FOR_CLIENTS, FOR_SERVERS, HOUR, Issued, replace
from transports.secure_wire import AUTHORITY, SERVER, Place
from vestryd.transports.tls_files import TlsUnusable


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Files that are in order."""
    return Place(tmp_path)


class TestRefusedStarts:
    """What the daemon doesn't begin to serve with; each message names the file, and what to do."""

    @pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
    def test_a_missing_file(self, place: Place, name: str) -> None:
        """With its name."""
        path: Path = getattr(place, name)
        path.unlink()
        with pytest.raises(TlsUnusable, match=f"{path.name}: it can't be read: No such file"):
            place.open()

    @pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"hello", b"\xff\x00", SERVER.pem[:100], SERVER.key_pem[:100]],
        ids=["empty", "text", "binary", "half a certificate", "half a key"],
    )
    def test_what_is_not_pem(self, place: Place, name: str, content: bytes) -> None:
        """Nor half of it."""
        replace(getattr(place, name), content, mode=0o600)
        with pytest.raises(TlsUnusable, match=r"doesn't hold .* in PEM"):
            place.open()

    @pytest.mark.parametrize("name", ["certificate", "client_ca"])
    def test_a_chain_that_is_cut_off(self, place: Place, name: str) -> None:
        """Its first certificate alone would do, and some clients would fail."""
        path: Path = getattr(place, name)
        replace(path, path.read_bytes() + AUTHORITY.root.pem[:-30])
        with pytest.raises(TlsUnusable, match="all of its last certificate"):
            place.open()

    def test_a_key_that_does_not_match(self, place: Place) -> None:
        """Both files are named."""
        replace(place.key, AUTHORITY.server().key_pem, mode=0o600)
        with pytest.raises(TlsUnusable, match=r"server-key.pem: it is not the key of .*server.pem"):
            place.open()

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o610])
    def test_a_key_that_others_get_at(self, place: Place, mode: int) -> None:
        """It must be taken for known."""
        place.key.chmod(mode)
        with pytest.raises(TlsUnusable, match=f"others can read it .mode {mode:04o}.: chmod 600"):
            place.open()

    def test_a_credential_of_systemd_has_an_acl(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its mask looks like the group's right to read."""
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place.directory))
        place.key.chmod(0o440)
        place.open()
        place.key.chmod(0o444)
        with pytest.raises(TlsUnusable, match="others can read it"):
            place.open()

    def test_a_key_with_a_passphrase(self, place: Place) -> None:
        """Nobody is there to type it."""
        encrypted = SERVER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        replace(place.key, encrypted, mode=0o600)
        with pytest.raises(TlsUnusable, match="it is encrypted"):
            place.open()

    @pytest.mark.parametrize(
        "key",
        [
            ed25519.Ed25519PrivateKey.generate(),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 1024),
        ],
        ids=["Ed25519", "P-521", "RSA 1024"],
    )
    def test_a_kind_of_key_that_grpc_cannot_serve_with(
        self, place: Place, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ) -> None:
        """Otherwise every handshake would fail, without a word."""
        AUTHORITY.issue(usage=FOR_SERVERS, key=key).write(place.directory, "server")
        with pytest.raises(TlsUnusable, match="gRPC serves with P-256, P-384 or RSA from 2048"):
            place.open()

    @pytest.mark.parametrize(
        ("issued", "problem"),
        [
            (AUTHORITY.server(begin=-2 * DAY, end=-HOUR), r"it expired at .*: renew it"),
            (AUTHORITY.server(begin=HOUR), r"it is not valid before .* clock"),
            (AUTHORITY.issue(usage=FOR_CLIENTS), "it is not for servers"),
        ],
    )
    def test_a_certificate_that_no_client_would_accept(self, tmp_path: Path, issued: Issued, problem: str) -> None:
        """Better no start than a server that nobody reaches."""
        with pytest.raises(TlsUnusable, match=problem):
            Place(tmp_path, server=issued).open()

    def test_an_expired_client_ca(self, place: Place) -> None:
        """No client could connect."""
        replace(place.client_ca, AUTHORITY.issue(begin=-2 * DAY, end=-HOUR).pem)
        with pytest.raises(TlsUnusable, match="no client could connect"):
            place.open()

    def test_a_crl_without_a_client_ca(self, place: Place) -> None:
        """There is nobody to check it against."""
        place.crl = replace(place.directory / "crl.pem", AUTHORITY.crl())
        with pytest.raises(TlsUnusable, match="there is no client CA"):
            place.open(client_ca=False)
