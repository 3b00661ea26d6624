from __future__ import annotations

import base64
import json
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import FakeClock
from vestryd.domain.errors import CredentialsInvalid, LimitExceeded
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.tokens.local import MAX_REMEMBERED, PREFIX, LocalTokens


def tokens(clock: FakeClock | None = None, **options: float) -> LocalTokens:
    """Return tokens of a daemon that runs as uid 7."""
    return LocalTokens(clock or FakeClock(), administrators={0, 7}, **options)


def test_a_token_says_what_the_kernel_said() -> None:
    """The user by name and by uid, and the groups by name."""
    clock = FakeClock()
    local = tokens(clock)
    text, expire_time = local.mint(1000, "alice", ["staff", "gid:1234"])
    assert expire_time == clock.now() + timedelta(seconds=600)
    assert local.authenticate(text) == Caller(
        name="user:alice",
        via=Via.SOCKET,
        identities=frozenset({"user:alice", "uid:1000"}),
        groups=frozenset({"staff", "gid:1234"}),
        expires=expire_time,
    )


def test_a_uid_without_a_name_is_called_by_its_number() -> None:
    """It has one identity."""
    local = tokens()
    caller = local.authenticate(local.mint(1234, "", [])[0])
    assert (caller.name, caller.identities) == ("uid:1234", frozenset({"uid:1234"}))


@pytest.mark.parametrize(("uid", "is_administrator"), [(0, True), (7, True), (8, False)])
def test_root_and_the_daemons_own_user_administer(uid: int, *, is_administrator: bool) -> None:
    """Nobody else does, whatever they are called."""
    local = tokens()
    caller = local.authenticate(local.mint(uid, "root", ["root"])[0])
    assert (LOCAL_ADMINISTRATOR in caller.identities) is is_administrator


def test_a_token_ends_with_its_time() -> None:
    """Whether it was remembered or not; a stream that it began is told too."""
    clock = FakeClock()
    local = tokens(clock, lifetime_seconds=10)
    text, _ = local.mint(1000, "alice", [])
    other, _ = local.mint(1000, "alice", ["x"])
    clock.advance(seconds=9.9)
    assert local.authenticate(text).is_known
    clock.advance(seconds=0.1)
    for late in (text, other):
        with pytest.raises(CredentialsInvalid, match="fetch a new one"):
            local.authenticate(late)


def test_a_clock_that_is_set_back_gives_no_token_more_time() -> None:
    """What comes from the future is refused, and its bearer fetches a new one; a step of seconds is forgiven."""
    clock = FakeClock()
    local = tokens(clock)
    text, _ = local.mint(1000, "alice", [])
    clock.advance(seconds=-50)
    assert local.authenticate(text).is_known
    clock.advance(seconds=-11)
    with pytest.raises(CredentialsInvalid):
        local.authenticate(text)
    assert local.authenticate(local.mint(1000, "alice", [])[0]).is_known


def test_a_token_of_another_run_is_refused() -> None:
    """The key doesn't outlive the process."""
    text, _ = tokens().mint(0, "root", [])
    with pytest.raises(CredentialsInvalid, match="since its last start"):
        tokens().authenticate(text)


@pytest.mark.parametrize(("address", "is_good"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)])
def test_a_token_is_good_on_its_host_alone(address: str, *, is_good: bool) -> None:
    """On the loopback the caller has its address; from elsewhere there is none."""
    local = tokens()
    text, _ = local.mint(1000, "alice", [])
    if is_good:
        assert local.authenticate(text, ip_address(address)).address == ip_address(address)
        assert local.authenticate(text).address is None
    else:
        with pytest.raises(CredentialsInvalid, match="own host"):
            local.authenticate(text, ip_address(address))


def test_each_character_counts() -> None:
    """A token that was cut or altered anywhere is refused."""
    local = tokens()
    text, _ = local.mint(1000, "alice", ["staff"])
    local.authenticate(text)
    for place in range(len(text)):
        for altered in (text[:place], text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]):
            with pytest.raises(CredentialsInvalid):
                local.authenticate(altered)


def test_nobody_can_say_they_are_root() -> None:
    """What is said of the caller is proved together with who it is."""
    local = tokens()
    text, _ = local.mint(1000, "alice", [])
    content = base64.urlsafe_b64decode(text.removeprefix(PREFIX))
    claims = json.loads(content[:-32]) | {"uid": 0}
    forged = json.dumps(claims, sort_keys=True, separators=(",", ":")).encode() + content[-32:]
    with pytest.raises(CredentialsInvalid):
        local.authenticate(PREFIX + base64.urlsafe_b64encode(forged).decode())


@pytest.mark.parametrize("odd", ["", PREFIX, PREFIX + "é", PREFIX + "A" * 44, PREFIX + "x" * 2**20, b"vestryl_", None])
def test_what_is_no_token_is_refused(odd: object) -> None:
    """Also a megabyte of it, at once."""
    with pytest.raises(CredentialsInvalid):
        tokens().authenticate(odd)


@given(st.text(max_size=50).map(lambda text: PREFIX + text))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    """It is refused."""
    with pytest.raises(CredentialsInvalid):
        tokens().authenticate(text)


def test_so_many_tokens_are_remembered() -> None:
    """More of them take no more memory, and what was forgotten is as good as before."""
    local = tokens()
    made = [local.mint(uid, "", [])[0] for uid in range(1000, 1000 + MAX_REMEMBERED + 10)]
    callers = [local.authenticate(text) for text in made]
    assert len(local._known) == MAX_REMEMBERED
    assert [local.authenticate(text) for text in made] == callers


def test_groups_that_would_not_fit_are_told() -> None:
    """None is left out in silence: a rule may deny because of it."""
    with pytest.raises(LimitExceeded, match="all the groups of uid 1000"):
        tokens().mint(1000, "alice", [f"a-group-with-a-long-name-{number}" for number in range(250)])
