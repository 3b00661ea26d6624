"""Addresses, options, and which methods gRPC may repeat."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from client.fake_daemon import FakeDaemon
from vestry import InvalidTarget, NotFound, Unavailable, connect
from vestry.channel import DEFAULT_TARGET, IDEMPOTENT_METHODS, resolve_target
from vestry.errors import from_rpc_error
from vestry.v1 import access_pb2, admin_pb2, config_pb2, config_pb2_grpc, seal_pb2, secrets_pb2, tokens_pb2

WRITES_AND_STREAMS = {
    "WatchConfig",
    "UpdateConfig",
    "RollbackConfig",
    "ReloadConfig",
    "CreateBackup",
    "UpdatePolicy",
    "RollbackPolicy",
    "ReloadPolicy",
    "CreateToken",
    "RevokeToken",
    "PutSecret",
    "UpdateSecret",
    "WatchSecrets",
    "DeleteSecret",
    "UndeleteSecret",
    "DestroySecretVersion",
    "RotateSecret",
    "RotateKeyring",
    "ExportSecrets",
    "ImportSecrets",
    "Seal",
    "Unseal",
    "AddUnlockSlot",
    "RemoveUnlockSlot",
    "RekeyUnlockSlot",
}
SERVICES = (access_pb2, admin_pb2, config_pb2, seal_pb2, secrets_pb2, tokens_pb2)


@pytest.mark.parametrize(
    "target", ["unix:/a", "unix:///a/b", "localhost:8378", "127.0.0.1:1", "[::1]:65535", "db-1.example.com:80"]
)
def test_a_usable_target(target: str) -> None:
    """Sockets by absolute path, hosts by name or address."""
    assert resolve_target(target) == target


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("", "empty"),
        ("/run/vestry.sock", "needs unix:"),
        ("unix:relative", "must be absolute"),
        ("unix:", "must be absolute"),
        ("http://localhost:80", "a URL"),
        ("localhost", "no port"),
        ("localhost:", "no port"),
        ("localhost:x", "no port"),
        ("a b:1", "no port"),
        ("localhost:0", "1 to 65535"),
        ("localhost:65536", "1 to 65535"),
        ("dns:localhost:80", "no port"),
    ],
)
def test_an_unusable_target_says_what_is_wrong(target: str, problem: str) -> None:
    """Anything else raises InvalidTarget with the problem and the two forms that work."""
    with pytest.raises(InvalidTarget, match=problem) as caught:
        resolve_target(target)
    assert "unix:/path/to/socket or host:port" in str(caught.value)


def test_the_environment_comes_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """$VESTRY_ADDRESS is used when no target is given, the socket in /run when that is unset or empty."""
    monkeypatch.setenv("VESTRY_ADDRESS", "localhost:1")
    assert resolve_target() == "localhost:1"
    assert resolve_target("localhost:2") == "localhost:2"
    monkeypatch.setenv("VESTRY_ADDRESS", "")
    assert resolve_target() == DEFAULT_TARGET
    monkeypatch.setenv("VESTRY_ADDRESS", "nonsense")
    with pytest.raises(InvalidTarget):
        resolve_target()


def test_every_method_is_repeatable_or_not() -> None:
    """Each method of the services is named as idempotent, or known to write or to stream."""
    for file in SERVICES:
        for service in file.DESCRIPTOR.services_by_name.values():
            methods = {method.name for method in service.methods}
            assert methods - set(IDEMPOTENT_METHODS[service.full_name]) == methods & WRITES_AND_STREAMS


async def test_a_synchronous_channel_for_a_command_line(daemon: FakeDaemon) -> None:
    """What connect gives is a channel for the stubs, and from_rpc_error knows the errors of grpc's synchronous side."""

    def call() -> None:
        with connect(daemon.target) as channel:
            stub = config_pb2_grpc.ConfigServiceStub(channel)
            assert stub.GetConfigStatus(config_pb2.GetConfigStatusRequest(namespace="default"), timeout=5).version == 1
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetConfigStatus(config_pb2.GetConfigStatusRequest(namespace="no"), timeout=5)
        error = from_rpc_error(caught.value, target=daemon.target)
        assert isinstance(error, NotFound)
        assert error.metadata["name"] == "no"

    await asyncio.to_thread(call)


def test_a_read_is_repeated_while_the_daemon_restarts(target: str) -> None:
    """Reads are retried by gRPC; when nobody comes, Unavailable within two seconds."""
    with connect(target) as channel:
        stub = config_pb2_grpc.ConfigServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetConfigStatus(config_pb2.GetConfigStatusRequest(), timeout=10)
    assert isinstance(from_rpc_error(caught.value, target=target), Unavailable)
