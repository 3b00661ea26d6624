from __future__ import annotations

import string
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from authority import HOUR, Authority, replace
from engine import FakeClock
from vestry import certificate_names
from vestryd.domain.errors import CredentialsInvalid
from vestryd.domain.identity import Caller, Via
from vestryd.transports.certificates import Certificates, caller_of
from vestryd.transports.tls_files import TlsUnusable

AUTHORITY = Authority()
ADDRESS = ip_address("127.0.0.1")
SPIFFE = "spiffe://example.org/ns/billing/web"


def name_of(*names: x509.GeneralName, common_name: str | None = "web") -> Caller:
    return caller_of(AUTHORITY.issue(common_name, names=names).pem, ADDRESS, datetime.now(UTC))


class TestNames:
    """Who a certificate says its bearer is."""

    def test_a_spiffe_id_comes_first(self) -> None:
        """It is the only identity then."""
        caller = name_of(x509.DNSName("web.example.org"), x509.UniformResourceIdentifier(SPIFFE))
        assert (caller.name, caller.identities) == (SPIFFE, frozenset({SPIFFE}))

    def test_dns_names_come_next(self) -> None:
        """The first is the name, in lower case; every one is an identity."""
        caller = name_of(x509.DNSName("Web.example.org"), x509.DNSName("b"), x509.IPAddress(ADDRESS))
        assert (caller.name, caller.identities) == ("dns:web.example.org", frozenset({"dns:web.example.org", "dns:b"}))

    def test_a_uri_that_is_no_spiffe_id_names_nobody(self) -> None:
        """The next kind of name counts."""
        assert name_of(x509.UniformResourceIdentifier("https://example.org/web")).name == "cn:web"

    @pytest.mark.parametrize("common_name", ["web", "Ada Lovelace", "Jürgen", "x" * 64])
    def test_the_common_name_comes_last(self, common_name: str) -> None:
        """It may be any text that can be printed and compared."""
        caller = name_of(common_name=common_name)
        assert (caller.name, caller.identities) == (f"cn:{common_name}", frozenset({f"cn:{common_name}"}))

    def test_the_caller_tells_the_rest(self) -> None:
        """How it is known, by which certificate, until when and from where."""
        issued = AUTHORITY.issue()
        caller = caller_of(issued.pem, ADDRESS, datetime.now(UTC))
        assert (caller.via, caller.address) == (Via.CERTIFICATE, ADDRESS)
        assert caller.expires == issued.certificate.not_valid_after_utc
        assert caller.credential == f"certificate {issued.certificate.serial_number:x}"

    @pytest.mark.parametrize(
        "uris",
        [
            (SPIFFE, SPIFFE + "2"),
            (SPIFFE, "https://example.org"),
            ("spiffe://example.org",),
            ("spiffe://example.org/",),
            ("spiffe:///web",),
            ("spiffe://Example.org/web",),
            ("SPIFFE://example.org/web",),
            ("spiffe://example.org/a/../web",),
            ("spiffe://example.org/a//web",),
            ("spiffe://example.org/web/",),
            ("spiffe://example.org:80/web",),
            ("spiffe://user@example.org/web",),
            ("spiffe://example.org/web?x=1",),
            ("spiffe://example.org/we%62",),
            ("spiffe://example.org/" + "x" * 2048,),
        ],
    )
    def test_anything_like_a_spiffe_id_must_be_one(self, uris: tuple[str, ...]) -> None:
        """It doesn't fall back to the other names of the certificate."""
        with pytest.raises(CredentialsInvalid, match="SPIFFE ID"):
            name_of(*(x509.UniformResourceIdentifier(uri) for uri in uris), x509.DNSName("web"))

    @pytest.mark.parametrize(
        "host", ["*.example.org", "a b", "a..b", ".a", "a.", "-a", "a\n", "a\0", "x" * 64, "a." * 127 + "ab", ""]
    )
    def test_a_dns_name_is_that_of_one_host(self, host: str) -> None:
        """No wildcard, no odd character, no more than 253; one bad name is enough."""
        with pytest.raises(CredentialsInvalid, match="a DNS name"):
            name_of(x509.DNSName("good.example.org"), x509.DNSName(host))

    def test_a_dns_name_is_ascii(self) -> None:
        """A certificate with another one in it is refused, not crashed upon."""
        issued = AUTHORITY.issue(names=[x509.DNSName("xx.example.org")])
        der = issued.certificate.public_bytes(Encoding.DER).replace(b"xx.example", "ü.example".encode())
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        with pytest.raises(CredentialsInvalid):
            caller_of(pem, ADDRESS, datetime.now(UTC))

    @pytest.mark.parametrize("common_name", ["a\nb", "a\0", "\u202eweb", " web", "web ", "Ju\u0308rgen", "a\u200bb"])
    def test_a_common_name_can_be_printed_and_compared(self, common_name: str) -> None:
        """No control character, no invisible one, no space at the ends, NFC."""
        with pytest.raises(CredentialsInvalid, match="a common name"):
            name_of(common_name=common_name)

    def test_a_certificate_without_a_name_is_refused(self) -> None:
        """An IP address is none."""
        with pytest.raises(CredentialsInvalid, match="no common name"):
            name_of(x509.IPAddress(ADDRESS), common_name=None)

    @pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
    def test_what_is_no_certificate_is_refused(self, pem: bytes) -> None:
        """As the caller's fault."""
        with pytest.raises(CredentialsInvalid, match="can't be used"):
            caller_of(pem, ADDRESS, datetime.now(UTC))

    @given(st.text())
    def test_no_name_that_is_accepted_could_pass_for_another(self, text: str) -> None:
        """Whatever a name is made of: it is printable, has no spaces around it, and compares as it looks."""
        for rule in (certificate_names.spiffe_id, certificate_names.dns_name, certificate_names.common_name):
            try:
                name = rule(text)
            except ValueError:
                continue
            assert name.isprintable()
            assert name == name.strip() != ""

    @given(st.text(alphabet=string.ascii_lowercase + ".-*_A"))
    def test_a_dns_name_that_is_accepted_is_accepted_again(self, text: str) -> None:
        """Its spelling is the one that a policy uses."""
        try:
            name = certificate_names.dns_name(text)
        except ValueError:
            return
        assert certificate_names.dns_name(name) == name


class TestTime:
    """A certificate counts from its first moment up to its last."""

    def test_it_counts_between_its_dates_alone(self) -> None:
        """NotBefore is included, notAfter is not; the clock may jump either way."""
        issued = AUTHORITY.issue()
        begin, end = issued.certificate.not_valid_before_utc, issued.certificate.not_valid_after_utc
        assert caller_of(issued.pem, None, begin).name == "cn:web"
        with pytest.raises(CredentialsInvalid, match="expired at"):
            caller_of(issued.pem, None, end)
        with pytest.raises(CredentialsInvalid, match="not valid before"):
            caller_of(issued.pem, None, begin - HOUR)
        assert caller_of(issued.pem, None, end - HOUR).name == "cn:web"

    def test_a_callers_certificate_is_looked_at_again(self, tmp_path: Path) -> None:
        """What was good when the stream began ends when the certificate does."""
        clock, issued = FakeClock(datetime.now(UTC)), AUTHORITY.issue()
        certificates = Certificates(replace(tmp_path / "ca.pem", AUTHORITY.root.pem), None, clock=clock)
        caller = certificates.caller(issued.pem, ADDRESS)
        certificates.recheck(caller)
        clock.advance(days=1)
        with pytest.raises(CredentialsInvalid, match="expired at"):
            certificates.recheck(caller)


class TestRevocation:
    """The CRL, as its file changes."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """A clock that begins now, since the certificates do."""
        return FakeClock(datetime.now(UTC))

    @pytest.fixture
    def crl(self, tmp_path: Path) -> Path:
        """An empty CRL."""
        return replace(tmp_path / "crl.pem", AUTHORITY.crl())

    @pytest.fixture
    def certificates(self, tmp_path: Path, crl: Path, clock: FakeClock) -> Certificates:
        """Certificates of the test CA, none of which is revoked yet."""
        return Certificates(replace(tmp_path / "ca.pem", AUTHORITY.root.pem), crl, clock=clock)

    def test_a_revoked_certificate_is_refused(self, certificates: Certificates, crl: Path, clock: FakeClock) -> None:
        """At the next call and under a live stream, within a second; no other certificate is."""
        bad, good = AUTHORITY.issue(), AUTHORITY.issue()
        caller = certificates.caller(bad.pem, ADDRESS)
        replace(crl, AUTHORITY.crl([bad]))
        clock.advance(seconds=1)
        for refused in (lambda: certificates.caller(bad.pem, ADDRESS), lambda: certificates.recheck(caller)):
            with pytest.raises(CredentialsInvalid, match="revoked"):
                refused()
        certificates.recheck(certificates.caller(good.pem, ADDRESS))
        assert certificates.problem == ""

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "doesn't hold a CRL"),
            (AUTHORITY.crl()[:-30], "doesn't hold a CRL"),
            (AUTHORITY.crl() + AUTHORITY.crl()[:100], "half of one"),
            (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "can't be read"),
            (Authority().crl(), "has signed it"),
            (Authority("Another").crl(), "has signed it"),
            (AUTHORITY.crl() + Authority().crl(), "has signed it"),
            (AUTHORITY.crl(is_delta=True), "delta"),
        ],
        ids=[
            "empty",
            "half",
            "one and a half",
            "garbage",
            "of a namesake",
            "of another CA",
            "one of a namesake",
            "a delta",
        ],
    )
    def test_a_bad_list_changes_nothing(
        self, certificates: Certificates, crl: Path, clock: FakeClock, content: bytes, problem: str
    ) -> None:
        """The last good one stays in force, and the problem is told until it is mended."""
        bad = AUTHORITY.issue()
        replace(crl, AUTHORITY.crl([bad]))
        assert certificates.problem == ""
        replace(crl, content)
        assert problem in certificates.problem
        clock.advance(seconds=1)
        with pytest.raises(CredentialsInvalid, match="revoked"):
            certificates.caller(bad.pem, ADDRESS)
        replace(crl, AUTHORITY.crl())
        clock.advance(seconds=1)
        assert certificates.caller(bad.pem, ADDRESS).name == "cn:web"
        assert certificates.problem == ""

    def test_a_list_that_vanishes_stays_in_force(self, certificates: Certificates, crl: Path, clock: FakeClock) -> None:
        """It is a problem, not an amnesty."""
        bad = AUTHORITY.issue()
        replace(crl, AUTHORITY.crl([bad]))
        assert certificates.problem == ""
        crl.unlink()
        clock.advance(seconds=1)
        with pytest.raises(CredentialsInvalid, match="revoked"):
            certificates.caller(bad.pem, ADDRESS)
        assert "No such file" in certificates.problem

    def test_an_overdue_list_stays_in_force_and_is_told(
        self, certificates: Certificates, crl: Path, clock: FakeClock
    ) -> None:
        """Nobody is let in, and nobody locked out, because the CA is late."""
        bad, good = AUTHORITY.issue(), AUTHORITY.issue()
        replace(crl, AUTHORITY.crl([bad], due=-HOUR))
        clock.advance(seconds=1)
        assert certificates.caller(good.pem, ADDRESS).name == "cn:web"
        with pytest.raises(CredentialsInvalid, match="revoked"):
            certificates.caller(bad.pem, ADDRESS)
        assert "should have been renewed" in certificates.problem

    def test_several_cas_have_a_list_each(self, tmp_path: Path, clock: FakeClock) -> None:
        """All in one file, in any order."""
        other = Authority("Another")
        ours, theirs = AUTHORITY.issue(), other.issue()
        ca = replace(tmp_path / "ca.pem", other.root.pem + AUTHORITY.root.pem)
        crl = replace(tmp_path / "crl.pem", AUTHORITY.crl([ours]) + other.crl([theirs]))
        certificates = Certificates(ca, crl, clock=clock)
        for issued in (ours, theirs):
            with pytest.raises(CredentialsInvalid, match="revoked"):
                certificates.caller(issued.pem, ADDRESS)

    def test_the_daemon_does_not_start_without_its_list(self, tmp_path: Path, clock: FakeClock) -> None:
        """Whoever was revoked would be let in."""
        ca = replace(tmp_path / "ca.pem", AUTHORITY.root.pem)
        with pytest.raises(TlsUnusable, match=r"crl.pem: it can't be read: No such file"):
            Certificates(ca, tmp_path / "crl.pem", clock=clock)
