"""A watch that is to end soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from e2e.daemon import PATIENCE_SECONDS
from e2e.failures import failed
from vestry.v1 import config_pb2, config_pb2_grpc, secrets_pb2, secrets_pb2_grpc

SOON_SECONDS = 2.0  # a second is promised; the other is for a machine that has more to do


def watch_config(channel: grpc.Channel) -> Any:
    """Watch configuration."""
    return config_pb2_grpc.ConfigServiceStub(channel).WatchConfig(config_pb2.WatchConfigRequest())


def watch_secrets(channel: grpc.Channel) -> Any:
    """Watch secrets."""
    return secrets_pb2_grpc.SecretsServiceStub(channel).WatchSecrets(secrets_pb2.WatchSecretsRequest())


@contextmanager
def ends_soon(open_watch: Callable[[], Any], code: str) -> Iterator[None]:
    """Let the block end a watch that has had its bookmark: within a second, with this code and a reason."""
    call = open_watch()
    is_up, ended_at = threading.Event(), [0.0]
    errors: list[grpc.RpcError] = []

    def read() -> None:
        try:
            for message in call:
                if message.HasField("bookmark"):
                    is_up.set()
        except grpc.RpcError as error:
            errors.append(error)
        ended_at[0] = time.monotonic()
        is_up.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert is_up.wait(PATIENCE_SECONDS)
        assert not errors, errors
        yield
        began_at = time.monotonic()
        reader.join(PATIENCE_SECONDS)
        assert [failed(error).code for error in errors] == [code]
        assert ended_at[0] - began_at < SOON_SECONDS
    finally:
        call.cancel()
        reader.join()
