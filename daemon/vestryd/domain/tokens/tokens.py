"""Bearer tokens: made, listed, revoked, and known again.

They are kept in the store and, for the calls that bring them, in memory. What is in memory changes only by what comes back
from the store's own watch: so a token that another instance revokes ends here too.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from vestry.audit_record import Fact
from vestryd.domain.audit import AuditLog
from vestryd.domain.audit import Entry as AuditEntry
from vestryd.domain.clock import Clock
from vestryd.domain.errors import (
    Conflict,
    CredentialsInvalid,
    InvalidField,
    LimitExceeded,
    ShuttingDown,
    TokenNotFound,
)
from vestryd.domain.failpoints import reach
from vestryd.domain.following import follow
from vestryd.domain.identity import Address, Caller
from vestryd.domain.store import ABSENT, MAX_COMMIT_OPERATIONS, Batch, Commit, Store
from vestryd.domain.tokens.new import NewToken
from vestryd.domain.tokens.records import (
    CREDENTIAL,
    KEYS,
    Secret,
    State,
    Token,
    id_in,
    matches,
    new_secret,
)

MAX_TOKENS = 100_000  # all of them are in memory
KEPT_AFTER_THE_END = timedelta(days=1)  # promised in tokens.proto
USE_IS_TOLD_TO = timedelta(minutes=1)

_NOT_GOOD = "the token is not known, or no longer good"
_WRITES = MAX_COMMIT_OPERATIONS // 2  # an expectation goes with each


class Tokens:
    """The tokens of a store, for as long as the daemon lives.

    `load` first; then `follow` runs as a task, and everything else may be called. `on_ended` is called with the credential of
    a token that somebody has revoked, right after that is in force; it must neither wait nor raise.
    """

    def __init__(self, store: Store, audit: AuditLog, clock: Clock) -> None:
        self.on_ended: Callable[[str], None] = lambda _credential: None
        self._store = store
        self._audit = audit
        self._clock = clock
        self._tokens: dict[str, Token] = {}  # id -> token
        self._order: list[tuple[datetime, str]] = []  # (create_time, id), oldest first
        self._uses: dict[str, datetime] = {}  # id -> its last use, while the store doesn't know it
        self._callers: dict[str, Caller] = {}  # id -> whom it spoke for last, so that it needn't be put together again
        self._revision = 0
        self._is_ended = False
        self._news = asyncio.Event()  # replaced at each revision

    def authenticate(self, text: object, address: Address | None = None) -> Caller | Awaitable[Caller]:
        """Return whom a token speaks for; an awaitable when it is good for one call, since using it up takes a commit.

        Raises CredentialsInvalid, and the awaitable StoreUnavailable as well. Of several uses of such a token at once, one
        gets through.
        """
        secret = Secret.parse(text)
        if secret is None:
            raise CredentialsInvalid("the token is malformed: was it cut, or altered?")
        token = self._tokens.get(secret.token_id)
        if not matches(secret, token) or token is None or token.ended:
            raise CredentialsInvalid(_NOT_GOOD)
        now = self._clock.now()
        if now >= token.expire_time:
            raise CredentialsInvalid("the token has expired")
        if token.once:
            return self._use_up(token, now, address)
        self._note_use(token, now)
        return self._caller(token, address)

    def recheck(self, caller: Caller) -> None:
        """Return while the token that a call came with is good for what it began. Raises CredentialsInvalid."""
        token = self._tokens.get(caller.credential.removeprefix(CREDENTIAL))
        state = token.state(self._clock.now()) if token else State.REVOKED
        if state is State.EXPIRED:
            raise CredentialsInvalid("the token has expired")
        if state is State.REVOKED:
            raise CredentialsInvalid("the token was revoked")

    async def create(self, caller: Caller, wanted: NewToken, *, call_id: str = "") -> tuple[str, Token]:
        """Make a token, and return it with what is known of it; nothing else ever tells the token.

        Raises LimitExceeded, AuditUnavailable, StoreUnavailable.
        """
        if len(self._tokens) >= MAX_TOKENS:
            raise LimitExceeded("the number of tokens", MAX_TOKENS, len(self._tokens) + 1)
        text, secret = new_secret()
        now = self._clock.now()
        token = Token(
            token_id=secret.token_id,
            user=wanted.user,
            groups=tuple(dict.fromkeys(wanted.groups)),
            description=wanted.description,
            creator=caller.name,
            create_time=now,
            expire_time=now + wanted.ttl,
            once=wanted.once,
            digest=secret.digest,
        )
        await self._record(caller, "tokens.create", f"users/{token.user}/tokens", token, call_id)
        reach("tokens.create.before_commit")
        revision = await self._store.commit(Commit(expect={token.key: ABSENT}, puts={token.key: token.encode()}))
        reach("tokens.create.after_commit")
        await self._until(revision)
        return text, token

    async def revoke(self, caller: Caller, which: str, *, call_id: str = "") -> Token:
        """End a token, named by its id or by itself, and return what is known of it. Idempotent.

        Raises InvalidField, TokenNotFound, AuditUnavailable, StoreUnavailable.
        """
        token_id = id_in(which)
        if token_id is None:  # what was given may be a token with a typing error: don't repeat it
            raise InvalidField("token_id", "it is neither the id of a token, 16 hexadecimal digits, nor a whole token")
        while True:
            token = self._get(token_id)
            if token.ended is State.REVOKED:
                return token
            await self._record(caller, "tokens.revoke", "tokens", token, call_id)
            reach("tokens.revoke.before_commit")
            ended = token.end(State.REVOKED, self._clock.now())
            with suppress(Conflict):  # it was used, or revoked, meanwhile: look again
                revision = await self._write(ended)
                reach("tokens.revoke.after_commit")
                await self._until(revision)
                return ended
            await self._until_changed(token)

    def all(self, *, user: str = "", before: tuple[datetime, str] | None = None) -> Iterator[Token]:
        """Yield the tokens, newest first; only a user's, and only those `before` a place in the order, when these are given.

        A token's place is its create_time and its id.
        """
        places = self._order[: bisect_left(self._order, before) if before else None]
        for _, token_id in reversed(places):
            token = self._tokens[token_id]
            if not user or token.user == user:
                use = self._uses.get(token_id)
                yield replace(token, last_use_time=use) if use else token

    def state(self, token: Token) -> State:
        """Return whether a token is good now."""
        return token.state(self._clock.now())

    async def load(self) -> None:
        """Read every token as it is now. Raises StoreUnavailable, RecordDamaged."""
        found = await self._store.read(KEYS)
        tokens = {token.token_id: token for token in map(Token.decode, found.entries)}
        before, self._tokens = self._tokens, tokens
        self._callers.clear()
        self._order = sorted((token.create_time, token.token_id) for token in tokens.values())
        self._reach(found.revision)
        for token in before.values():
            self._tell_if_ended(token, tokens.get(token.token_id))

    async def follow(self) -> None:
        """Apply what the store commits, until it is closed or this is cancelled."""
        try:
            await follow(self._store, KEYS, reached=lambda: self._revision, apply=self._apply, start_over=self.load)
        finally:
            self._is_ended = True
            self._wake()

    async def sweep(self) -> None:
        """Write down when tokens were last used, and forget those that ended a day ago; meant for each minute.

        Raises StoreUnavailable; what is left is for the next sweep.
        """
        used = [(self._tokens[token_id], time) for token_id, time in self._uses.items() if token_id in self._tokens]
        await self._commit_together(
            [replace(token, last_use_time=time) for token, time in used if not token.ended], forget=()
        )
        horizon = self._clock.now() - KEPT_AFTER_THE_END
        over = [one for one in self._tokens.values() if (one.end_time or one.expire_time) < horizon]
        await self._commit_together((), forget=over)

    def _get(self, token_id: str) -> Token:
        token = self._tokens.get(token_id)
        if token is None:
            raise TokenNotFound(token_id)
        return token

    async def _use_up(self, token: Token, now: datetime, address: Address | None) -> Caller:
        reach("tokens.use.before_commit")
        try:
            revision = await self._write(token.end(State.USED, now))
        except Conflict as error:  # somebody else used it, or revoked it
            raise CredentialsInvalid(_NOT_GOOD) from error
        reach("tokens.use.after_commit")
        await self._until(revision)
        return token.caller(address)

    def _caller(self, token: Token, address: Address | None) -> Caller:
        """Return whom a token speaks for: that never changes, but for the address, and most of its calls come from one."""
        caller = self._callers.get(token.token_id)
        if caller is None or caller.address is not address:
            caller = self._callers[token.token_id] = token.caller(address)
        return caller

    def _note_use(self, token: Token, now: datetime) -> None:
        known = self._uses.get(token.token_id) or token.last_use_time
        if known is None or now - known >= USE_IS_TOLD_TO:
            self._uses[token.token_id] = now

    async def _record(self, caller: Caller, action: str, resource: str, token: Token, call_id: str) -> None:
        facts: dict[str, Fact] = {
            "token_id": token.token_id,
            "user": token.user,
            "groups": ",".join(token.groups),
            "expire_time": token.expire_time.isoformat(),
            "once": token.once,
        }
        await self._audit.record(AuditEntry(caller.name, action, resource, request_id=call_id, facts=facts))

    async def _write(self, token: Token) -> int:
        """Replace what the store keeps of a token. Raises Conflict when it has changed since."""
        return await self._store.commit(Commit(expect={token.key: token.revision}, puts={token.key: token.encode()}))

    async def _commit_together(self, puts: Iterable[Token], *, forget: Iterable[Token]) -> None:
        """Write some tokens and delete others, many in one commit; those that change meanwhile are left alone."""
        written = {one.key: (one, one.encode()) for one in puts} | {one.key: (one, None) for one in forget}
        todo = list(written)
        while todo:
            part, todo = todo[:_WRITES], todo[_WRITES:]
            commit = Commit(
                expect={key: written[key][0].revision for key in part},
                puts={key: value for key in part if (value := written[key][1]) is not None},
                deletes=frozenset(key for key in part if written[key][1] is None),
            )
            try:
                await self._until(await self._store.commit(commit))
            except Conflict as error:
                todo = [key for key in (*part, *todo) if key != error.key]

    def _apply(self, batch: Batch) -> None:
        for key, entry in batch.changes.items():
            token_id = key.removeprefix(KEYS)
            after = Token.decode(entry) if entry else None
            before = self._tokens.pop(token_id, None)
            if after:
                self._tokens[token_id] = after
            if before and not after:
                del self._order[bisect_left(self._order, (before.create_time, token_id))]
            elif after and not before:
                insort(self._order, (after.create_time, token_id))
            self._callers.pop(token_id, None)
            if not after or after.last_use_time == self._uses.get(token_id):
                self._uses.pop(token_id, None)
            if before:
                self._tell_if_ended(before, after)
        self._reach(batch.revision)

    def _tell_if_ended(self, before: Token, after: Token | None) -> None:
        if before.ended is not State.REVOKED and (after is None or after.ended is State.REVOKED):
            self.on_ended(f"{CREDENTIAL}{before.token_id}")

    async def _until(self, revision: int) -> None:
        """Return once the tokens in memory are as of `revision`. Raises ShuttingDown when they no longer follow."""
        while self._revision < revision:
            await self._wait()

    async def _until_changed(self, token: Token) -> None:
        while self._tokens.get(token.token_id) is token:
            await self._wait()

    async def _wait(self) -> None:
        if self._is_ended:
            raise ShuttingDown
        await self._news.wait()

    def _reach(self, revision: int) -> None:
        self._revision = max(self._revision, revision)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
