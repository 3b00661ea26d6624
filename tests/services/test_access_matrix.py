"""Every method of every service with every role: who gets through the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from inspect import isawaitable
from typing import Any

import pytest

from callers import KnownCallers, user
from engine import FakeClock
from vestryd.domain.access import Access, access_kind
from vestryd.domain.documents import Documents
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via, anonymous
from vestryd.domain.policy.policy import compile_policy
from vestryd.services.call import Call, Peer
from vestryd.services.methods import Kind, Method, actions, table
from vestryd.services.pipeline import CallFailed, Pipeline, Route
from vestryd.stores.memory import MemoryStore

# What each role of the table below may do, on the namespace billing.
POLICY = {
    "groups": {"administrators": {"members": [LOCAL_ADMINISTRATOR]}},
    "roles": {
        "reader": {"actions": ["config.read", "config.watch", "config.list", "config.history", "config.validate"]},
        "editor": {"actions": ["config.*"]},
        "consumer": {"actions": ["secrets.access", "secrets.watch"]},
        "keeper": {"actions": ["secrets.*"]},
        "auditor": {"actions": ["audit.*", "access.read", "access.history", "access.explain", "admin.status"]},
    },
    "rules": {
        "administrators": {"subjects": ["group:administrators"], "actions": ["*"], "resources": ["**"]},
        "readers": {"subjects": ["user:reader"], "roles": ["reader"], "resources": ["namespaces/billing/config"]},
        "editors": {"subjects": ["user:editor"], "roles": ["editor"], "resources": ["namespaces/billing/config"]},
        "consumers": {
            "subjects": ["user:consumer"],
            "roles": ["consumer"],
            "resources": ["namespaces/billing/secrets/**"],
        },
        "keepers": {"subjects": ["user:keeper"], "roles": ["keeper"], "resources": ["namespaces/billing/secrets/**"]},
        "auditors": {"subjects": ["user:auditor"], "roles": ["auditor"], "resources": ["**"]},
        "nobody-destroys": {
            "effect": "deny",
            "subjects": ["*"],
            "actions": ["secrets.destroy"],
            "resources": ["namespaces/billing/**"],
        },
    },
}
CALLERS = {
    "administrator": Caller("user:root", Via.SOCKET, frozenset({"user:root", "uid:0", LOCAL_ADMINISTRATOR})),
    "reader": user("reader"),
    "editor": user("editor"),
    "consumer": user("consumer"),
    "keeper": user("keeper"),
    "auditor": user("auditor"),
    "stranger": user("stranger"),
    "anonymous": anonymous(),
}
EVERYBODY = set(CALLERS) - {"anonymous"}

# method -> the roles that get through, besides the administrator; a method that isn't here is the administrator's alone.
ALLOWED: dict[str, set[str]] = {
    "AccessService/CheckAccess": EVERYBODY,
    "AccessService/WhoAmI": EVERYBODY,
    "AccessService/DiffPolicyVersions": {"auditor"},
    "AccessService/ExplainAccess": {"auditor"},
    "AccessService/GetPolicy": {"auditor"},
    "AccessService/ListPolicyVersions": {"auditor"},
    "AdminService/GetStatus": {"auditor"},
    "AuditService/ExportAudit": {"auditor"},
    "AuditService/GetCheckpoint": {"auditor"},
    "AuditService/ListAuditRecords": {"auditor"},
    "AuditService/WatchAudit": {"auditor"},
    "ConfigService/DiffConfigVersions": {"reader", "editor"},
    "ConfigService/ExplainConfig": {"reader", "editor"},
    "ConfigService/GetConfig": {"reader", "editor"},
    "ConfigService/GetConfigSchema": {"reader", "editor"},
    "ConfigService/GetConfigStatus": {"reader", "editor"},
    "ConfigService/GetConfigVersion": {"reader", "editor"},
    "ConfigService/ListConfigVersions": {"reader", "editor"},
    "ConfigService/ReloadConfig": {"editor"},
    "ConfigService/RollbackConfig": {"editor"},
    "ConfigService/UpdateConfig": {"editor"},
    "ConfigService/ValidateConfig": {"reader", "editor"},
    "ConfigService/WatchConfig": {"reader", "editor"},
    "SecretsService/AccessSecret": {"consumer", "keeper"},
    "SecretsService/DeleteSecret": {"keeper"},
    "SecretsService/ExportSecrets": {"keeper"},
    "SecretsService/GetRotationStatus": {"keeper"},
    "SecretsService/GetSecret": {"keeper"},
    "SecretsService/ImportSecrets": {"keeper"},
    "SecretsService/ListSecretVersions": {"keeper"},
    "SecretsService/ListSecrets": {"keeper"},
    "SecretsService/PutSecret": {"keeper"},
    "SecretsService/RotateSecret": {"keeper"},
    "SecretsService/UndeleteSecret": {"keeper"},
    "SecretsService/UpdateSecret": {"keeper"},
    "SecretsService/WatchSecrets": {"consumer", "keeper"},
}
NOBODY = {"SecretsService/DestroySecretVersion"}  # a rule denies it to all, and denying wins

METHODS = table()


def _name(method: Method) -> str:
    return f"{method.service.rpartition('.')[2]}/{method.name}"


def _request(method: Method) -> bytes:
    """Return a request that speaks of the namespace billing, wherever it can."""
    fields = method.request.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {"namespace": "billing", "namespaces": ["billing"], "name": "db-password", "user": "ci"}
    return method.request(**{name: value for name, value in values.items() if name in fields}).SerializeToString()


async def _outcome(role: str, method: Method) -> str:
    """Return how a call ends whose handler only says that it was reached: `OK`, or the reason of its failure."""

    def unary(_request: Any, _call: Call) -> Any:
        return method.response()

    async def stream(_request: Any, _call: Call) -> AsyncIterator[bytes]:
        yield b""

    known = actions(METHODS.values())
    access = Access(Documents(MemoryStore(), [access_kind(known)]), FakeClock(), known)
    access._built_in = compile_policy(POLICY, actions=known)
    route = Route(method, stream if method.kind is Kind.STREAM else unary)
    callers = KnownCallers(CALLERS[role])
    pipeline = Pipeline({method.path: route}, authenticator=callers, guard=access, default_deadline_seconds=10)
    call = pipeline.begin(route, peer=Peer(), metadata={}, timeout_seconds=None)
    if method.kind is Kind.STREAM:
        try:
            async with aclosing(pipeline.stream(route, _request(method), call)) as bodies:
                await anext(bodies)
        except CallFailed as error:
            return error.failure.reason
        return "OK"
    reply = pipeline.unary(route, _request(method), call)
    if isawaitable(reply):
        reply = await asyncio.wait_for(reply, 10)
    return reply.failure.reason if reply.failure else "OK"


@pytest.mark.parametrize("role", CALLERS)
async def test_a_role_gets_through_the_doors_that_the_table_says(role: str) -> None:
    """Every other door is closed to it; to who is not known, all of them."""
    refused = "CREDENTIALS_MISSING" if role == "anonymous" else "PERMISSION_DENIED"

    def expected(method: Method) -> str:
        allowed = ALLOWED.get(_name(method), set())
        is_open = role in allowed or (role == "administrator" and _name(method) not in NOBODY)
        return "OK" if is_open else refused

    outcomes = {_name(method): await _outcome(role, method) for method in METHODS.values()}
    assert outcomes == {_name(method): expected(method) for method in METHODS.values()}


def test_the_table_speaks_of_methods_that_there_are() -> None:
    """A method that is renamed would drop out of it unseen."""
    assert {*ALLOWED, *NOBODY} <= {_name(method) for method in METHODS.values()}
