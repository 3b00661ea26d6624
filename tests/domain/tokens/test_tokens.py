from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callers import TESTER
from domain.tokens.desk import desk
from engine import FakeClock
from vestryd.domain.errors import (
    AuditUnavailable,
    AuditUnusable,
    CredentialsInvalid,
    InvalidField,
    LimitExceeded,
    RecordDamaged,
    ShuttingDown,
    StoreUnavailable,
    TokenNotFound,
)
from vestryd.domain.identity import Caller, Via
from vestryd.domain.store import Commit
from vestryd.domain.tokens.new import NewToken
from vestryd.domain.tokens.records import KEYS, Secret, State, new_secret
from vestryd.domain.tokens.tokens import Tokens
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.audit_refused import RefusedAuditLog
from vestryd.stores.memory import MemoryStore

PATIENCE_SECONDS = 5.0


class TestAuthenticate:
    """What a token is good for."""

    async def test_a_token_speaks_for_its_user_in_its_groups(self) -> None:
        """The caller is named after the user, and names the token without giving it away."""
        async with desk() as one:
            text, token = await one.make("alice", "ops", "dev", "ops")
            caller = await one.show(text)
        assert caller == Caller(
            name="user:alice",
            via=Via.TOKEN,
            identities=frozenset({"user:alice"}),
            groups=frozenset({"ops", "dev"}),
            credential=f"token {token.token_id}",
            expires=one.clock.now() + timedelta(days=30),
        )
        assert text.startswith(f"vestry_{token.token_id}_")
        assert len(text) == 67

    async def test_a_caller_is_where_its_call_came_from(self) -> None:
        """One token, shown from two addresses in turn: each call's caller has its own."""
        here, there = ip_address("127.0.0.1"), ip_address("192.0.2.1")
        async with desk() as one:
            text, _ = await one.make()
            callers = [one.tokens.authenticate(text, address) for address in (here, there, None, here)]
        assert [caller.address for caller in callers if isinstance(caller, Caller)] == [here, there, None, here]

    async def test_a_token_ends_with_its_time(self) -> None:
        """Up to its expiry it is good, from then on not; its bearer is told why."""
        async with desk() as one:
            text, _ = await one.make(seconds=10)
            one.clock.advance(seconds=9.999)
            caller = await one.show(text)
            one.tokens.recheck(caller)
            one.clock.advance(seconds=0.001)
            with pytest.raises(CredentialsInvalid, match="expired"):
                await one.show(text)
            with pytest.raises(CredentialsInvalid, match="expired"):
                one.tokens.recheck(caller)

    async def test_a_wrong_secret_is_told_what_an_unknown_id_is(self) -> None:
        """Nobody learns whether an id exists, or has expired, without the secret."""
        async with desk() as one:
            text, token = await one.make(seconds=1)
            one.clock.advance(seconds=2)
            other, _ = new_secret()
            problems = set()
            for wrong in (other, f"vestry_{token.token_id}_{'A' * 43}", f"vestry_{'0' * 16}_{text[-43:]}"):
                with pytest.raises(CredentialsInvalid) as caught:
                    await one.show(wrong)
                problems.add(caught.value.problem)
        assert problems == {"the token is not known, or no longer good"}

    @pytest.mark.parametrize(
        "odd",
        [
            "",
            "vestry_",
            "vestry_0123456789abcdef_",
            "vestry_0123456789abcdef_" + "é" * 43,
            "vestry_0123456789abcdef_" + "A" * 42 + "\n",
            "vestry_0123456789ABCDEF_" + "A" * 43,
            "vestryl_123456789abcdef_" + "A" * 43,
            b"vestry_0123456789abcdef_" + b"A" * 43,
            "x" * 1024 * 1024,
            None,
        ],
    )
    async def test_what_is_no_token_is_refused(self, odd: object) -> None:
        """Bytes, other alphabets, other prefixes and a megabyte: not accepted, and nothing of it is repeated."""
        async with desk() as one:
            with pytest.raises(CredentialsInvalid, match="malformed"):
                await one.show(odd)

    async def test_a_token_that_was_cut_or_altered_is_refused(self) -> None:
        """Each of its characters counts, the last one too, whose base64 has bits to spare."""
        async with desk() as one:
            text, _ = await one.make()
            for place in range(len(text)):
                for altered in (text[:place], text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]):
                    with pytest.raises(CredentialsInvalid):
                        await one.show(altered)
            assert (await one.show(text)).is_known


class TestOnce:
    """Tokens that are good for one call."""

    async def test_a_token_for_one_call_is_used_up_by_it(self) -> None:
        """It is used up durably before the call goes on; the stream that the call began may last."""
        async with desk() as one:
            text, token = await one.make(once=True)
            caller = await one.show(text)
            (entry,) = (await one.store.read(token.key)).entries
            assert json.loads(entry.value)["ended"] == "USED"
            with pytest.raises(CredentialsInvalid, match="not known, or no longer good"):
                await one.show(text)
            one.tokens.recheck(caller)
            assert [one.tokens.state(each) for each in one.tokens.all()] == [State.USED]

    async def test_of_several_uses_at_once_one_gets_through(self) -> None:
        """Two daemons over one store and ten callers each: one wins."""
        async with desk() as one, desk(one.store, clock=one.clock) as other:
            text, _ = await one.make(once=True)
            await _until_known(other.tokens, text)
            uses = [each.show(text) for each in (one, other) for _ in range(10)]
            answers = await asyncio.gather(*uses, return_exceptions=True)
        assert sum(isinstance(each, Caller) for each in answers) == 1
        assert sum(isinstance(each, CredentialsInvalid) for each in answers) == 19


class TestCreate:
    """What may be asked for."""

    @pytest.mark.parametrize("name", ["a", "alice", "A.b-c_d@example.org", "0" * 128])
    def test_names_that_are_fine(self, name: str) -> None:
        """Users and groups have the same names."""
        NewToken(name, (name,))

    @pytest.mark.parametrize("name", ["", "-a", "a.", "a b", "a/b", "user:a", "é", "a\n", "a\0b", "0" * 129])
    def test_names_that_are_not(self, name: str) -> None:
        """The field that is wrong is named."""
        with pytest.raises(InvalidField, match=r"^user"):
            NewToken(name)
        with pytest.raises(InvalidField, match=r"^groups"):
            NewToken("alice", ("ops", name))

    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("ttl", {"ttl": timedelta(milliseconds=999)}),
            ("ttl", {"ttl": timedelta(days=-1)}),
            ("ttl", {"ttl": timedelta(days=3654)}),
            ("groups", {"groups": ("g",) * 33}),
            ("description", {"description": "x" * 257}),
        ],
    )
    def test_limits(self, field: str, values: dict[str, object]) -> None:
        """What is over one is refused."""
        with pytest.raises(InvalidField, match=f"^{field}"):
            NewToken("alice", **values)  # type: ignore[arg-type]

    async def test_the_store_holds_only_a_hash(self) -> None:
        """Neither the store nor the audit log can tell what a bearer sends."""
        async with desk() as one:
            text, _ = await one.make()
            kept = [entry.value for entry in (await one.store.read("")).entries]
            records = [repr(record) for record in await one.audit.read(after=0, limit=9)]
        secret = text.split("_", 2)[2]  # which may have "_" in it
        assert len(kept) == 1
        assert not any(secret in each for each in (*map(bytes.decode, kept), *records))

    async def test_what_happens_is_recorded_first(self) -> None:
        """Each change has a record of who made it; when none can be made, nothing changes."""
        async with desk() as one:
            _, token = await one.make("alice", "ops")
            await one.tokens.revoke(TESTER, token.token_id, call_id="r-7")
            await one.tokens.revoke(TESTER, token.token_id)  # nothing is left to do
            made, revoked = await one.audit.read(after=0, limit=9)
        assert (made.actor, made.action, made.resource) == ("user:tester", "tokens.create", "users/alice/tokens")
        assert (made.facts["token_id"], made.facts["groups"]) == (token.token_id, "ops")
        assert (revoked.action, revoked.resource, revoked.request_id) == ("tokens.revoke", "tokens", "r-7")

        refusing = RefusedAuditLog(one.store.store_id, AuditUnusable("/x", "it was cut", "restore it"))
        async with desk(one.store, refusing, one.clock) as one:
            with pytest.raises(AuditUnavailable):
                await one.make()
        assert len((await one.store.read(KEYS)).entries) == 1

    async def test_there_is_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All tokens are in memory, so their number is bounded."""
        monkeypatch.setattr("vestryd.domain.tokens.tokens.MAX_TOKENS", 2)
        async with desk() as one:
            await one.make()
            await one.make()
            with pytest.raises(LimitExceeded):
                await one.make()


class TestRevoke:
    """How a token ends before its time."""

    async def test_a_token_ends_at_once_everywhere(self) -> None:
        """The instance that revokes it, and any other over the same store, refuse it and tell the streams."""
        async with desk() as one, desk(one.store, clock=one.clock) as other:
            text, token = await one.make()
            await _until_known(other.tokens, text)
            caller = await other.show(text)
            here: list[str] = []
            there: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            one.tokens.on_ended = here.append
            other.tokens.on_ended = there.set_result
            assert (await one.tokens.revoke(TESTER, text)).ended is State.REVOKED
            assert here == [f"token {token.token_id}"]
            with pytest.raises(CredentialsInvalid, match="not known"):
                await one.show(text)
            assert await asyncio.wait_for(there, PATIENCE_SECONDS) == caller.credential
            with pytest.raises(CredentialsInvalid, match="revoked"):
                other.tokens.recheck(caller)

    async def test_a_token_that_is_over_can_be_revoked(self) -> None:
        """So it stays over when the clock is set back, and the stream of a used one ends."""
        async with desk() as one:
            expired, token = await one.make(seconds=1)
            one.clock.advance(seconds=2)
            await one.tokens.revoke(TESTER, token.token_id)
            one.clock.advance(seconds=-2)
            with pytest.raises(CredentialsInvalid):
                await one.show(expired)
            used, token = await one.make(once=True)
            caller = await one.show(used)
            await one.tokens.revoke(TESTER, token.token_id)
            with pytest.raises(CredentialsInvalid):
                one.tokens.recheck(caller)

    async def test_what_is_named_must_exist(self) -> None:
        """An unknown id is not found; anything else isn't even repeated, since it may be a token with a typing error."""
        async with desk() as one:
            with pytest.raises(TokenNotFound):
                await one.tokens.revoke(TESTER, "0123456789abcdef")
            text, _ = await one.make()
            with pytest.raises(InvalidField) as caught:
                await one.tokens.revoke(TESTER, text[:-1])
            assert text[-20:-1] not in str(caught.value)

    async def test_a_revocation_outlasts_a_use_at_the_same_moment(self) -> None:
        """When somebody else changes the token in between, it is revoked all the same."""
        async with desk() as one:
            text, token = await one.make(once=True)
            _, revoked = await asyncio.gather(one.show(text), one.tokens.revoke(TESTER, token.token_id))
            assert revoked.ended is State.REVOKED
            assert [each.ended for each in one.tokens.all()] == [State.REVOKED]


class TestLast:
    """What is known of a token later."""

    async def test_the_list_is_newest_first(self) -> None:
        """Whole, of one user, or from a place on."""
        async with desk() as one:
            made = []
            for number in range(6):
                made.append((await one.make("even" if number % 2 == 0 else "odd"))[1])
                one.clock.advance(seconds=number % 2)  # so that two share a time
            everything = list(one.tokens.all())
            assert sorted((each.create_time, each.token_id) for each in made)[::-1] == [
                (each.create_time, each.token_id) for each in everything
            ]
            assert {each.token_id for each in one.tokens.all(user="odd")} == {each.token_id for each in made[1::2]}
            place = (everything[2].create_time, everything[2].token_id)
            assert list(one.tokens.all(before=place)) == everything[3:]

    async def test_the_last_use_is_written_once_a_minute_for_many(self) -> None:
        """The list knows it at once; the store after the sweep, in one commit, and then not for a minute."""
        async with desk() as one:
            texts = [(await one.make())[0] for _ in range(40)]
            revision = (await one.store.read(KEYS)).revision
            one.clock.advance(hours=1)
            for text in texts:
                await one.show(text)
            assert {each.last_use_time for each in one.tokens.all()} == {one.clock.now()}
            await one.tokens.sweep()
            one.clock.advance(seconds=59)
            for text in texts:
                await one.show(text)
            await one.tokens.sweep()
            assert (await one.store.read(KEYS)).revision == revision + 1
            one.clock.advance(seconds=1)
            await one.show(texts[0])
            await one.tokens.sweep()
            assert (await one.store.read(KEYS)).revision == revision + 2
        async with desk(one.store, clock=one.clock) as later:
            assert len({each.last_use_time for each in later.tokens.all()}) == 2

    async def test_a_sweep_does_not_bring_back_what_was_revoked(self) -> None:
        """A token that another instance ends meanwhile stays ended."""
        async with desk() as one:
            (text, token), (other, _) = await one.make(), await one.make()
            stale = Tokens(one.store, one.audit, one.clock)
            await stale.load()
            stale.authenticate(text)
            stale.authenticate(other)
            await one.tokens.revoke(TESTER, token.token_id)
            sweep = asyncio.create_task(stale.sweep())
            follower = asyncio.create_task(stale.follow())
            await asyncio.wait_for(sweep, PATIENCE_SECONDS)
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
            with pytest.raises(CredentialsInvalid):
                await one.show(text)
            assert [each.last_use_time is None for each in one.tokens.all() if each.ended] == [True]
            assert [each.last_use_time is None for each in one.tokens.all() if not each.ended] == [False]

    async def test_what_is_over_is_forgotten_a_day_later(self) -> None:
        """Expired, revoked and used alike; what is good stays."""
        async with desk() as one:
            await one.make(seconds=1)
            _, revoked = await one.make()
            used, _ = await one.make(once=True)
            _, good = await one.make()
            await one.tokens.revoke(TESTER, revoked.token_id)
            await one.show(used)
            one.clock.advance(days=1)
            await one.tokens.sweep()
            assert len(list(one.tokens.all())) == 4
            one.clock.advance(seconds=2)
            await one.tokens.sweep()
            assert [each.token_id for each in one.tokens.all()] == [good.token_id]
            assert len((await one.store.read(KEYS)).entries) == 1

    async def test_tokens_outlive_the_daemon(self) -> None:
        """What was made is good after a restart, also when the history that tells of it is gone."""
        async with desk() as one:
            text, _ = await one.make("alice", "ops")
            await one.store.compact((await one.store.read("")).revision)
        async with desk(one.store, clock=one.clock) as later:
            assert (await later.show(text)).groups == {"ops"}

    async def test_a_follower_that_lost_the_history_reads_again(self) -> None:
        """It hears of a revocation even so."""
        store = MemoryStore(history_revisions=1)
        async with desk(store) as one:
            text, token = await one.make()
            late = Tokens(store, one.audit, one.clock)
            await late.load()
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            late.on_ended = ended.set_result
            await one.tokens.revoke(TESTER, token.token_id)
            await one.make()
            follower = asyncio.create_task(late.follow())
            assert await asyncio.wait_for(ended, PATIENCE_SECONDS) == f"token {token.token_id}"
            with pytest.raises(CredentialsInvalid):
                late.authenticate(text)
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def test_who_waits_is_let_go_when_nothing_is_followed_any_more(self) -> None:
        """A token that was made as the daemon stops isn't answered."""
        store, clock = MemoryStore(), FakeClock()
        tokens = Tokens(store, MemoryAuditLog(store.store_id, clock=clock), clock)
        await tokens.load()
        making = asyncio.create_task(tokens.create(TESTER, NewToken("alice")))
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreUnavailable):
            await tokens.follow()
        with pytest.raises(ShuttingDown):
            await making

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"ended":"SOMETIMES"}', b"\xff"])
    async def test_a_damaged_record_is_told(self, content: bytes) -> None:
        """The daemon doesn't start as if nothing were wrong."""
        store = MemoryStore()
        await store.commit(Commit(puts={"token/0123456789abcdef": content}))
        with pytest.raises(RecordDamaged):
            async with desk(store):
                pass


@given(st.text(max_size=100))
@example(new_secret()[0])
def test_whatever_is_sent_parses_or_does_not(text: str) -> None:
    """A text that parses is one that could have been made; no text makes the parser fail."""
    secret = Secret.parse(text)
    assert secret is None or text.startswith(f"vestry_{secret.token_id}_")


async def _until_known(tokens: Tokens, text: str) -> None:
    """Wait until another instance has heard of a token."""
    secret = Secret.parse(text)
    assert secret
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(each.token_id == secret.token_id for each in tokens.all()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
