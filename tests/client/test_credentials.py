from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.guarded_daemon import auth_socket
from vestry import AsyncClient, Client, CredentialsUnusable, Unavailable, connect
from vestry.auth_socket import LocalToken, fetch, fetch_async, path_beside
from vestry.credentials import Credentials, FixedToken, SocketToken, TokenFile, choose

LOCAL = "127.0.0.1:8378"
SECRET = "vestry_0123456789abcdef_hush"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer has set out of the tests."""
    for name in ("VESTRY_TOKEN", "VESTRY_TOKEN_FILE", "VESTRY_TLS_CA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a token in it."""
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def token_of(credentials: Credentials | None) -> str:
    """Return the token that would be sent."""
    assert credentials is not None
    return credentials.token(timeout_seconds=1)


class TestChoice:
    """Where a token comes from."""

    def test_the_program_speaks_before_the_environment(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it says, $VESTRY_TOKEN, $VESTRY_TOKEN_FILE; without any, none."""
        assert choose(LOCAL) is None
        monkeypatch.setenv("VESTRY_TOKEN_FILE", str(file))
        assert token_of(choose(LOCAL)) == SECRET
        monkeypatch.setenv("VESTRY_TOKEN", "from-the-environment")
        assert token_of(choose(LOCAL)) == "from-the-environment"
        assert token_of(choose(LOCAL, "given")) == "given"
        assert token_of(choose(LOCAL, file)) == SECRET
        monkeypatch.setenv("VESTRY_TOKEN", "")
        assert token_of(choose(LOCAL)) == SECRET

    def test_a_unix_socket_has_an_auth_socket(self) -> None:
        """It is asked when nothing else is said."""
        assert repr(choose("unix:/run/v.sock")) == "SocketToken('/run/v.sock.auth')"
        assert repr(choose("unix:///run/v.sock")) == "SocketToken('/run/v.sock.auth')"
        assert token_of(choose("unix:/run/v.sock", "given")) == "given"

    @pytest.mark.parametrize("target", [LOCAL, "127.9.9.9:1", "[::1]:1", "localhost:1"])
    def test_this_host_may_be_told_in_the_clear(self, target: str) -> None:
        """Nothing leaves it."""
        assert token_of(choose(target, "given")) == "given"

    @pytest.mark.parametrize(
        "target", ["192.0.2.1:1", "[2001:db8::1]:1", "vestry.example.org:1", "localhost.example.org:1", "0.0.0.0:1"]
    )
    def test_another_host_is_not(self, target: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The program is told before anything is sent, whatever the token's source; TLS makes it right."""
        for token in ("given", file):
            with pytest.raises(CredentialsUnusable, match=r"in the clear"):
                choose(target, token)
        assert token_of(choose(target, "given", is_encrypted=True)) == "given"
        assert choose(target) is None
        monkeypatch.setenv("VESTRY_TOKEN", SECRET)
        for make in (Client, AsyncClient, connect):
            with pytest.raises(CredentialsUnusable) as caught:
                make(target)
            assert "hush" not in str(caught.value)


class TestText:
    """What a token may look like."""

    @pytest.mark.parametrize("text", ["", " ", "two words", "a\nb", "a\r\nx-evil: 1", "hüsh", "\0", "x" * 8001])
    def test_what_can_not_be_sent_is_refused(self, text: str) -> None:
        """Nothing of it is repeated."""
        with pytest.raises(CredentialsUnusable, match="is no token") as caught:
            choose(LOCAL, text)
        assert "evil" not in str(caught.value)

    @given(st.text())
    def test_whatever_is_accepted_can_be_sent(self, text: str) -> None:
        """It is ASCII, without white space."""
        try:
            token = token_of(FixedToken(text))
        except CredentialsUnusable:
            return
        assert token.isascii()
        assert token.isprintable()
        assert token == text.strip()

    def test_no_repr_holds_a_token(self, file: Path) -> None:
        """Neither a source's nor that of what the auth socket gave."""
        for source in (FixedToken(SECRET), TokenFile(file)):
            assert "hush" not in repr(source)


class TestFile:
    """A token in a file."""

    def test_it_is_read_again_when_it_changes(self, file: Path) -> None:
        """Whether it is written or replaced."""
        source = TokenFile(file)
        file.write_text("another")
        assert token_of(source) == "another"
        replacement = file.with_name("new")
        replacement.write_text("a-third")
        replacement.chmod(0o600)
        replacement.replace(file)
        assert token_of(source) == "a-third"

    def test_a_refused_token_is_renewed_by_a_change(self, file: Path) -> None:
        """As long as the file holds what was refused, there is no other."""
        source = TokenFile(file)
        assert not source.renew(SECRET)
        assert not source.renew()
        file.write_text("another")
        assert source.renew(SECRET)
        assert source.renew("whatever was sent before")
        assert not source.renew("another")
        file.unlink()
        assert not source.renew(SECRET)

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
    def test_one_that_others_can_read_or_write_is_refused(self, file: Path, mode: int) -> None:
        """At once, and later when it becomes so."""
        source = TokenFile(file)
        file.chmod(mode)
        with pytest.raises(CredentialsUnusable, match="chmod 600"):
            TokenFile(file)
        with pytest.raises(CredentialsUnusable, match="chmod 600"):
            token_of(source)
        file.chmod(0o640)
        assert token_of(source) == SECRET

    def test_one_that_can_not_be_read_is_told(self, file: Path, tmp_path: Path) -> None:
        """A missing one, a directory, and one that is no token; nothing of its content."""
        source = TokenFile(file)
        file.write_bytes(b"\xff\xfe hush")
        with pytest.raises(CredentialsUnusable, match="is no token") as caught:
            token_of(source)
        assert "hush" not in str(caught.value)
        file.unlink()
        with pytest.raises(CredentialsUnusable, match="No such file"):
            token_of(source)
        with pytest.raises(CredentialsUnusable, match="directory"):
            TokenFile(tmp_path)


class TestSocket:
    """A token from the auth socket."""

    async def test_a_token_is_kept_for_most_of_its_life(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Up to four fifths of it."""
        time = 1000.0
        monkeypatch.setattr("vestry.credentials.time.monotonic", lambda: time)
        source = SocketToken(path_beside(target))
        async with auth_socket(target, seconds=100) as fake:
            for passed, given in ((0.0, 1), (79.9, 1), (0.2, 2), (79.0, 2)):
                time += passed
                assert await source.token_async(timeout_seconds=5) == f"vestryl_{given}"
                assert fake.given == given

    async def test_a_refused_token_is_fetched_anew(self, target: str) -> None:
        """One that was already replaced stays."""
        source = SocketToken(path_beside(target))
        async with auth_socket(target):
            first = await source.token_async(timeout_seconds=5)
            assert source.renew(first)
            second = await source.token_async(timeout_seconds=5)
            assert source.renew(first)
            assert await source.token_async(timeout_seconds=5) == second
            assert source.renew()
            assert await source.token_async(timeout_seconds=5) == "vestryl_3"

    async def test_many_tasks_or_threads_fetch_one(self, target: str) -> None:
        """The others wait for it."""
        async with auth_socket(target) as fake:
            source = SocketToken(path_beside(target))
            asked = [source.token_async(timeout_seconds=5) for _ in range(20)]
            assert set(await asyncio.gather(*asked)) == {"vestryl_1"}
            source = SocketToken(path_beside(target))
            together = threading.Barrier(4)

            def ask() -> str:
                together.wait()
                return source.token(timeout_seconds=5)

            assert set(await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))) == {"vestryl_2"}
            assert fake.given == 2

    async def test_without_an_auth_socket_there_is_no_token(self, target: str, tmp_path: Path) -> None:
        """It is looked for again at the next call: the daemon may start meanwhile."""
        source = SocketToken(path_beside(target))
        assert source.token(timeout_seconds=1) == ""
        assert await source.token_async(timeout_seconds=1) == ""
        (tmp_path / "v.sock.auth").write_text("no socket")
        assert source.token(timeout_seconds=1) == ""
        (tmp_path / "v.sock.auth").unlink()
        async with auth_socket(target):
            assert await source.token_async(timeout_seconds=1) == "vestryl_1"

    async def test_a_refusal_is_told(self, target: str) -> None:
        """In the daemon's words."""
        async with auth_socket(target, answer=b'{"error": "you are in more than 256 groups"}\n'):
            for error in await _both(path_beside(target), timeout_seconds=5):
                assert isinstance(error, CredentialsUnusable)
                assert "more than 256 groups" in str(error)

    @pytest.mark.parametrize("answer", [b"SSH-2.0-hush\r\n", b"[]", b"{}", b'"hush"', b"\xff", b"hush" * 100_000])
    async def test_a_stranger_is_not_believed(self, target: str, answer: bytes) -> None:
        """Nor are its words repeated, which may be a token."""
        async with auth_socket(target, answer=answer):
            for error in await _both(path_beside(target), timeout_seconds=5):
                assert isinstance(error, CredentialsUnusable)
                assert "hush" not in str(error)
                assert error.__context__ is None

    async def test_one_that_says_nothing_may_speak_later(self, target: str) -> None:
        """Whether it closes or hangs, it is a passing failure."""
        async with auth_socket(target, answer=b""):
            assert {type(error) for error in await _both(path_beside(target), timeout_seconds=5)} == {Unavailable}
        async with auth_socket(target, is_hanging=True):
            assert {type(error) for error in await _both(path_beside(target), timeout_seconds=0.05)} == {Unavailable}

    def test_what_was_given_hides_its_token(self) -> None:
        """Its repr tells the caller alone."""
        assert "hush" not in repr(LocalToken("hush", "user:me", 1.0))


async def _both(path: str, *, timeout_seconds: float) -> tuple[Exception, Exception]:
    """Return how both ways of fetching fail."""
    with pytest.raises((CredentialsUnusable, Unavailable)) as blocking:
        await asyncio.to_thread(fetch, path, timeout_seconds=timeout_seconds)
    with pytest.raises((CredentialsUnusable, Unavailable)) as waiting:
        await fetch_async(path, timeout_seconds=timeout_seconds)
    return blocking.value, waiting.value
