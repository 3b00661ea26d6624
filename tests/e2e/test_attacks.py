"""What somebody tries who has a credential, and wants more."""

from __future__ import annotations

import json
import resource
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest

from e2e.ctl import ctl
from e2e.daemon import PATIENCE_SECONDS, Daemon, until
from vestry import connect
from vestry.v1 import (
    access_pb2,
    access_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    secrets_pb2,
    secrets_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)

pytestmark = pytest.mark.e2e

CANARY = b"canary-9d1c7be2"
NAMES = (
    "administrators-own",
    "nothing-of-that-name",
    "",
    "x" * 200_000,
    "../pw",
    "pw%2F",
    "a\nb\x1b[31m",
    "\uff50w",
    "PW",
)
ADMINISTRATORS = {"subjects": ["local:administrator"], "actions": ["*"], "resources": ["**"]}
POLICY = {
    "rules": {
        "administrators": ADMINISTRATORS,
        "mallory": {
            "subjects": ["user:mallory"],
            "actions": ["config.*", "secrets.*"],
            "resources": ["namespaces/default/**"],
        },
        "nobody-has-root-passwords": {
            "effect": "deny",
            "subjects": ["user:mallory"],
            "actions": ["secrets.access", "secrets.put", "secrets.rotate", "secrets.destroy"],
            "resources": ["namespaces/*/secrets/root-*"],
        },
    }
}


@dataclass
class Caller:
    """Somebody with a channel of their own; `metadata` is what goes along with each call."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    def __post_init__(self) -> None:
        self._stubs = [
            access_pb2_grpc.AccessServiceStub(self.channel),
            config_pb2_grpc.ConfigServiceStub(self.channel),
            secrets_pb2_grpc.SecretsServiceStub(self.channel),
            tokens_pb2_grpc.TokenServiceStub(self.channel),
        ]

    def ask(self, method: str, request: Any) -> Any:
        """Call a method."""
        stub = next(stub for stub in self._stubs if hasattr(stub, method))
        return getattr(stub, method)(request, timeout=PATIENCE_SECONDS, metadata=self.metadata)

    def refusal(self, method: str, request: Any) -> tuple[str, str]:
        """Call a method that must fail, be it a stream; return the code and the message."""
        with pytest.raises(grpc.RpcError) as caught:
            _all_of(self.ask(method, request))
        return caught.value.code().name, caught.value.details() or ""


def _all_of(answer: Any) -> list[Any]:
    return list(answer) if isinstance(answer, Iterator) else [answer]


@pytest.fixture
def target(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with some secrets, one of which the configuration refers to, and a policy that lets mallory do a lot."""
    daemon = make_daemon()
    daemon.save("access.json", POLICY)
    daemon.save("default.json", {"server": {"port": 80}, "key": {"$secret": "namespaces/default/secrets/root-key"}})
    daemon.start()
    with connect(daemon.target) as channel:
        for name in ("root-key", "web-key"):
            Caller(channel).ask("PutSecret", secrets_pb2.PutSecretRequest(name=name, value=CANARY))
    return daemon


@pytest.fixture
def administrator(target: Daemon) -> Iterator[Caller]:
    """Return root, over the socket."""
    with connect(target.target) as channel:
        yield Caller(channel)


@pytest.fixture
def plain(target: Daemon) -> Iterator[grpc.Channel]:
    """Return a channel that brings nothing by itself."""
    with grpc.insecure_channel(target.tcp_target) as channel:
        yield channel


@pytest.fixture
def mallory(target: Daemon, plain: grpc.Channel) -> Caller:
    """Return who wants more."""
    return Caller(plain, bearer(target.token("mallory", "staff")))


def bearer(*tokens: str) -> tuple[tuple[str, str], ...]:
    return tuple(("authorization", f"Bearer {token}") for token in tokens)


@pytest.mark.parametrize("user", ["root", "administrator", "vestryd"])
def test_no_name_makes_an_administrator(target: Daemon, plain: grpc.Channel, user: str) -> None:
    """A token speaks for a user of the policy, never for who has the machine."""
    caller = Caller(plain, bearer(target.token(user, "root", "local")))
    assert list(caller.ask("WhoAmI", access_pb2.WhoAmIRequest()).identities) == [f"user:{user}"]
    assert caller.refusal("GetPolicy", access_pb2.GetPolicyRequest())[0] == "PERMISSION_DENIED"


@pytest.mark.parametrize("user", ["local:administrator", "user:root", "a/b", "root\n", "*", ""])
def test_no_token_is_for_another_kind_of_name(administrator: Caller, user: str) -> None:
    """Not even an administrator can make one."""
    assert administrator.refusal("CreateToken", tokens_pb2.CreateTokenRequest(user=user))[0] == "INVALID_ARGUMENT"
    named = tokens_pb2.CreateTokenRequest(user="bob", groups=[user])
    assert administrator.refusal("CreateToken", named)[0] == "INVALID_ARGUMENT"


def test_two_credentials_are_none(target: Daemon, plain: grpc.Channel) -> None:
    """Whichever comes first, and however they are smuggled in: no call is made as one of two callers."""
    mine, other = target.token("mallory", "staff"), target.token("bob", "staff")
    smuggled = (("authorization-bin", f"Bearer {mine}".encode()), ("x-authorization", f"Bearer {mine}"))
    for metadata in (bearer(mine, other), bearer(other, mine), bearer(mine, ""), smuggled):
        caller = Caller(plain, metadata)
        assert caller.refusal("WhoAmI", access_pb2.WhoAmIRequest())[0] == "UNAUTHENTICATED"


def test_a_token_for_one_call_is_good_for_one(administrator: Caller, plain: grpc.Channel) -> None:
    """Of many uses at once, streams among them, one gets through."""
    made = administrator.ask("CreateToken", tokens_pb2.CreateTokenRequest(user="mallory", once=True))
    caller = Caller(plain, bearer(made.token))

    def use(number: int) -> grpc.StatusCode:
        try:
            if number % 2:
                caller.ask("WhoAmI", access_pb2.WhoAmIRequest())
            else:
                next(caller.ask("WatchConfig", config_pb2.WatchConfigRequest()))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(use, range(16)))
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.UNAUTHENTICATED) == 15


def test_what_is_denied_is_denied_by_every_door(administrator: Caller, mallory: Caller) -> None:
    """Neither an export nor an import nor a reference is a way around a rule about single secrets."""
    name = "root-key"
    exports = [secrets_pb2.ExportSecretsRequest(names=names, passphrase="x" * 12) for names in ([], [name])]
    attempts = [
        ("AccessSecret", secrets_pb2.AccessSecretRequest(name=name)),
        ("AccessSecret", secrets_pb2.AccessSecretRequest(name=name, version=1)),
        ("PutSecret", secrets_pb2.PutSecretRequest(name=name, value=b"mine")),
        ("RotateSecret", secrets_pb2.RotateSecretRequest(name=name, value=b"mine")),
        *(("ExportSecrets", request) for request in exports),
        *(
            ("ImportSecrets", secrets_pb2.ImportSecretsRequest(secrets=[item], conflict=conflict, dry_run=dry_run))
            for item in [secrets_pb2.ImportedSecret(name=name, value=b"mine")]
            for conflict in secrets_pb2.ImportConflict.values()
            for dry_run in (False, True)
        ),
    ]
    for method, request in attempts:
        assert mallory.refusal(method, request)[0] == "PERMISSION_DENIED", method
    (shown,) = mallory.ask("ExportSecrets", secrets_pb2.ExportSecretsRequest(names=["web-key"], passphrase="x" * 12))
    assert shown.name == "web-key"
    assert administrator.ask("AccessSecret", attempts[0][1]).value == CANARY


def test_a_reference_is_followed_for_its_reader_alone(administrator: Caller, mallory: Caller) -> None:
    """Who has read it before changes nothing; history, provenance and watches know the reference, not the value."""
    resolving = config_pb2.GetConfigRequest(resolve_secrets=True)
    assert CANARY in administrator.ask("GetConfig", resolving).value
    patch = b'{"mine": {"$secret": "namespaces/default/secrets/root-key"}}'
    mallory.ask("UpdateConfig", config_pb2.UpdateConfigRequest(merge_patch=patch))
    administrator.ask("GetConfig", resolving)
    seen = [
        mallory.ask("GetConfig", resolving),
        mallory.ask("ExplainConfig", config_pb2.ExplainConfigRequest()),
        mallory.ask("GetConfigVersion", config_pb2.GetConfigVersionRequest(version=2)),
        mallory.ask("DiffConfigVersions", config_pb2.DiffConfigVersionsRequest(from_version=1, to_version=2)),
        next(mallory.ask("WatchConfig", config_pb2.WatchConfigRequest())),
        next(mallory.ask("WatchSecrets", secrets_pb2.WatchSecretsRequest())),
    ]
    assert json.loads(seen[0].value)["mine"]["$withheld"] == "you may not access it"
    assert not any(CANARY in answer.SerializeToString() for answer in seen)


def test_a_stranger_learns_nothing(target: Daemon, plain: grpc.Channel) -> None:
    """What is there, what isn't and what can't be is refused alike; and no name makes a line of the log."""
    stranger = Caller(plain, bearer(target.token("eve", "staff")))
    for name in ("root-key", *NAMES):
        code, message = stranger.refusal("AccessSecret", secrets_pb2.AccessSecretRequest(name=name))
        assert code == "PERMISSION_DENIED"
        assert message.startswith("denied to user:eve: no rule allows secrets.access on ")
        assert message.isprintable()
    assert all(json.loads(line) for line in target.log().splitlines())


def test_a_flood_of_refusals_does_not_fill_the_log(target: Daemon, administrator: Caller, plain: grpc.Channel) -> None:
    """The audit log keeps room for what matters: it is what secrets are refused without."""
    stranger = Caller(plain, bearer(target.token("eve", "staff")))
    for number in range(200):
        stranger.refusal("AccessSecret", secrets_pb2.AccessSecretRequest(name=f"name-{number}"))

    def denied() -> list[dict[str, Any]]:
        listed = json.loads(ctl(target, "audit", "list", "--limit", "1000", "-o", "json"))
        return [one for one in listed["records"] if one["actor"] == "user:eve"]

    until(lambda: any("muted" in str(one["facts"]) for one in denied()), "the last refusal says that it is the last")
    assert len(denied()) == 30


def test_a_watch_does_not_outlive_its_right(administrator: Caller, mallory: Caller) -> None:
    """A rule against it, and the end of its token, end it at once, and it is told why."""

    def deny(effect: str | None) -> None:
        rule = effect and {"effect": "deny", "subjects": ["user:mallory"], "actions": ["*"], "resources": ["**"]}
        patch = json.dumps({"rules": {"no-mallory": rule}}).encode()
        administrator.ask("UpdatePolicy", access_pb2.UpdatePolicyRequest(merge_patch=patch))

    token = mallory.ask("WhoAmI", access_pb2.WhoAmIRequest()).credential.removeprefix("token ")
    revoke = partial(administrator.ask, "RevokeToken", tokens_pb2.RevokeTokenRequest(token_id=token))
    for end, code in ((partial(deny, "deny"), "PERMISSION_DENIED"), (revoke, "UNAUTHENTICATED")):
        deny(None)
        watch = mallory.ask("WatchSecrets", secrets_pb2.WatchSecretsRequest())
        next(watch)
        end()
        administrator.ask("PutSecret", secrets_pb2.PutSecretRequest(name="web-key", value=b"after the end"))
        messages: list[Any] = []
        with pytest.raises(grpc.RpcError) as caught:
            deque(map(messages.append, watch))
        assert caught.value.code().name == code
        assert not any(message.change.secret.current_version > 1 for message in messages)


def test_nobody_can_be_kept_from_sealing(target: Daemon, administrator: Caller) -> None:
    """A log that can't record stops who reads secrets, not who locks them away; it has the record before they are opened."""
    resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    reading = secrets_pb2.AccessSecretRequest(name="web-key")
    until(lambda: administrator.refusal("AccessSecret", reading)[0] == "UNAVAILABLE", "nothing can be recorded")
    ctl(target, "seal", "--yes")
    assert administrator.refusal("AccessSecret", reading)[0] == "FAILED_PRECONDITION"
    resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ctl(target, "unseal", "--own-sources")
    assert administrator.ask("AccessSecret", reading).value == CANARY
    listed = json.loads(ctl(target, "audit", "list", "-o", "json"))["records"]
    actions = [one["action"] for one in listed]
    assert actions.index("keyring.unseal") < actions.index("keyring.seal")  # newest first
