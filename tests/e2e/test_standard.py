"""What every gRPC server is expected to have, over both sockets."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from e2e.daemon import Daemon, until
from vestry import connect
from vestry.v1 import admin_pb2, admin_pb2_grpc, config_pb2, config_pb2_grpc

pytestmark = pytest.mark.e2e

OURS = {f"vestry.v1.{name}Service" for name in ("Access", "Admin", "Audit", "Config", "Seal", "Secrets", "Token")}
STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Bearer(grpc.StreamStreamClientInterceptor):
    """What a tool does that was given a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_stream_stream(
        self, continuation: Callable[[Any, Any], Any], details: Any, requests: Iterator[Any]
    ) -> Any:
        return continuation(details._replace(metadata=[("authorization", f"Bearer {self._token}")]), requests)


def test_both_sockets_serve_the_same(daemon: Daemon) -> None:
    """The loopback port answers as the unix socket does, to who brings a token, and the status names both."""
    with connect(daemon.tcp_target, token=daemon.token()) as channel:
        answer = config_pb2_grpc.ConfigServiceStub(channel).GetConfig(config_pb2.GetConfigRequest(), timeout=5)
        status = admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=5)
    assert answer.version == daemon.get()[0]
    assert list(status.listeners) == [daemon.target, daemon.tcp_target]
    assert status.process_id == daemon.pid


def test_reflection_lists_the_services(daemon: Daemon) -> None:
    """A tool without our protos finds our services, and their methods."""
    with grpc.insecure_channel(daemon.target) as plain:
        with pytest.raises(grpc.RpcError, match="for callers with credentials"):
            ProtoReflectionDescriptorDatabase(plain).get_services()
        bearer = Bearer(daemon.token())
        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(plain, bearer))
        assert set(database.get_services()) == OURS | STANDARD
        file = database.FindFileContainingSymbol("vestry.v1.ConfigService")
    assert "WatchConfig" in {method.name for service in file.service for method in service.method}


def test_health_follows_the_life_of_the_daemon(daemon: Daemon) -> None:
    """Standard health says SERVING, for the whole and for each service; and NOT_SERVING once the daemon stops."""
    with connect(daemon.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call] # it carries no types
        for service in ("", *OURS):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == SERVING
        heard: list[int] = []
        listener = threading.Thread(target=_listen, args=(stub, heard))
        listener.start()
        until(lambda: heard, "health is watched")
        daemon.signal(signal.SIGTERM)
        listener.join()
        assert daemon.wait() == 0
        assert heard == [SERVING, NOT_SERVING]
        with pytest.raises(grpc.RpcError):
            stub.Check(health_pb2.HealthCheckRequest(), timeout=5)


def _listen(stub: health_pb2_grpc.HealthStub, heard: list[int]) -> None:
    """Keep what health says until the daemon ends it."""
    try:
        heard.extend(answer.status for answer in stub.Watch(health_pb2.HealthCheckRequest()))
    except grpc.RpcError:
        return
