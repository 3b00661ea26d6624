from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vestryd.domain.formats.formats import parse, require_object
from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.layers import Layer, fold
from vestryd.domain.policy.policy import Policy, compile_policy
from vestryd.domain.schema.schema import Schema
from vestryd.domain.sources import Sources
from vestryd.host.files import ConfigTree, PolicyFiles
from vestryd.services.methods import actions, table

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2] / "config"


def documents(namespace: str, environment: str) -> dict[str, Any]:
    """Return slot -> what the file in it says."""
    return contents(ConfigTree(ROOT, environment), namespace)


def contents(sources: Sources, name: str) -> dict[str, Any]:
    """Return slot -> what the file in it says."""
    found = sources.read(name)
    return {
        slot: require_object(parse(file.content or b"", format=file.format, file=file.path))
        for slot, file in found.items()
    }


def effective(namespace: str, environment: str) -> Any:
    """Return the document that the daemon would serve."""
    layers = documents(namespace, environment)
    return fold({Layer[slot.upper()]: layer for slot, layer in layers.items() if slot != "schema"}).effective


def policy(environment: str) -> Policy:
    """Return the access policy that the daemon would compile, without findings."""
    layers = contents(PolicyFiles(ROOT, environment), "policy")
    document = fold({Layer[slot.upper()]: layer for slot, layer in layers.items()}).effective
    return compile_policy(document, actions=actions(table().values()))


def test_tree_has_nothing_wrong_in_it() -> None:
    """Each directory of the sample is a namespace, and the tree doesn't ship an override, which is each host's own."""
    tree = ConfigTree(ROOT, "production")
    assert tree.names() == ("default", "notifications")
    assert tree.problems() == ()
    assert not [*ROOT.rglob("override.*"), *ROOT.rglob("access.override.*")]


@pytest.mark.parametrize("environment", ["development", "production", "staging"])
@pytest.mark.parametrize("namespace", ["default", "notifications"])
def test_every_environment_meets_the_schema(namespace: str, environment: str) -> None:
    """What is effective in an environment, also in one without a file of its own, meets the namespace's schema."""
    schema = Schema(documents(namespace, environment)["schema"])
    assert schema.violations(effective(namespace, environment)) == ()


def test_environments_differ() -> None:
    """An environment's file changes what is served."""
    assert effective("default", "development")["logging"]["level"] == "debug"
    assert effective("default", "production")["server"]["workers"] == 8
    assert effective("notifications", "production")["channels"]["sms"]["enabled"] is True


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"server": {"port": 70_000}}, "/server/port"),
        ({"server": {"port": "8080"}}, "/server/port"),
        ({"server": {"public_url": "no url"}}, "/server/public_url"),
        ({"logging": {"level": "loud"}}, "/logging/level"),
        ({"database": {"name": "1"}}, "/database/name"),
        ({"database": None}, ""),
        ({"monitoring": {"contact": "nobody"}}, "/monitoring/contact"),
        ({"providers": {"openai": {"retry": {"attempts": 0}}}}, "/providers/openai/retry/attempts"),
        ({"providers": {"anthropic": {"modle": "x"}}}, "/providers/anthropic"),
        ({"rate_limits": {"Bad Name": {"requests": 1, "per_seconds": 1}}}, "/rate_limits"),
    ],
)
def test_schema_refuses_mistakes(change: dict[str, Any], pointer: str) -> None:
    """A number out of range, a wrong type, format, pattern or choice, a missing and an unknown key are all refused."""
    layers = documents("default", "production")
    broken = fold({Layer.DEFAULT: layers["default"], Layer.OVERRIDE: change}).effective
    violations = Schema(layers["schema"]).violations(broken)
    assert violations
    assert all(violation.pointer.startswith(pointer) for violation in violations)


@pytest.mark.parametrize(
    ("namespace", "pointer"),
    [
        ("default", "/database/password"),
        ("default", "/providers/openai/api_key"),
        ("default", "/providers/google_maps/api_key"),
        ("notifications", "/channels/email/smtp_password"),
    ],
)
def test_secrets_are_marked(namespace: str, pointer: str) -> None:
    """What must not be shown in errors is marked as secret, also behind references."""
    assert Schema(documents(namespace, "production")["schema"]).is_secret(pointer)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_policy_does_what_its_readme_says(environment: str) -> None:
    """Administrators may do everything; a service reads its own namespace and secrets; an operator reads no secret."""
    found = policy(environment)
    root = Caller("user:root", Via.SOCKET, frozenset({"user:root", LOCAL_ADMINISTRATOR}))
    billing = Caller("user:billing", Via.SOCKET, frozenset({"user:billing"}))
    operator = Caller("user:olga", Via.SOCKET, frozenset({"user:olga"}), frozenset({"operators"}))
    auditor = Caller("user:anna", Via.SOCKET, frozenset({"user:anna"}), frozenset({"auditor"}))
    stranger = Caller("user:eve", Via.SOCKET, frozenset({"user:eve"}))
    allowed = [
        (root, "keyring.rotate", "keyring"),
        (billing, "secrets.access", "namespaces/billing/secrets/db-password"),
        (billing, "config.watch", "namespaces/billing/config"),
        (operator, "config.update", "namespaces/billing/config"),
        (operator, "config.reload", "namespaces/*/config"),
        (operator, "config.list", "namespaces"),
        (operator, "secrets.rotate", "namespaces/billing/secrets/db-password"),
        (operator, "admin.status", "daemon"),
        (auditor, "audit.read", "audit"),
        (auditor, "access.explain", "access"),
    ]
    denied = [
        (billing, "secrets.access", "namespaces/notifications/secrets/smtp-password"),
        (billing, "config.update", "namespaces/billing/config"),
        (operator, "secrets.access", "namespaces/billing/secrets/db-password"),
        (operator, "admin.backup", "daemon"),
        (operator, "access.update", "access"),
        (auditor, "access.update", "access"),
        (auditor, "config.read", "namespaces/billing/config"),
        (stranger, "config.read", "namespaces/default/config"),
    ]
    assert [one for one in allowed if not found.check(*one, NOW).is_allowed] == []
    assert [one for one in denied if found.check(*one, NOW).is_allowed] == []
