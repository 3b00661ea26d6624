"""Requests that can't be answered: each with its code and one reason, and the daemon serves on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from e2e.daemon import Daemon
from e2e.failures import DETAILS, Failed, failed
from e2e.watch import RawWatch
from vestry import connect
from vestry.v1 import config_pb2 as pb

pytestmark = pytest.mark.e2e

CONFIG = "/vestry.v1.ConfigService/"
MEBIBYTE = 1024 * 1024
HUGE = 10 * MEBIBYTE  # over limits.request_bytes
DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000

# method, request, code, reason
WRONG: list[tuple[str, Any, str, str]] = [
    ("GetConfig", pb.GetConfigRequest(namespace="nobody"), "NOT_FOUND", "DOCUMENT_NOT_FOUND"),
    ("GetConfig", pb.GetConfigRequest(namespace="../etc"), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("GetConfig", pb.GetConfigRequest(namespace="x" * 300), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("GetConfig", pb.GetConfigRequest(pointer="/no/where"), "NOT_FOUND", "POINTER_NOT_FOUND"),
    ("GetConfig", pb.GetConfigRequest(pointer="server"), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("GetConfig", pb.GetConfigRequest(version=99), "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("GetConfig", pb.GetConfigRequest(version=-1), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("ExplainConfig", pb.ExplainConfigRequest(pointer="/no/where"), "NOT_FOUND", "POINTER_NOT_FOUND"),
    ("GetConfigVersion", pb.GetConfigVersionRequest(version=99), "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("DiffConfigVersions", pb.DiffConfigVersionsRequest(from_version=99), "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("RollbackConfig", pb.RollbackConfigRequest(version=99), "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("RollbackConfig", pb.RollbackConfigRequest(), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("ListConfigVersions", pb.ListConfigVersionsRequest(page_size=-1), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("ListConfigVersions", pb.ListConfigVersionsRequest(page_token="?"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
    ("ListNamespaces", pb.ListNamespacesRequest(page_size=-1), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("ListNamespaces", pb.ListNamespacesRequest(page_token="?"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
    ("GetConfigSchema", pb.GetConfigSchemaRequest(namespace="bare"), "NOT_FOUND", "SCHEMA_NOT_FOUND"),
    ("ReloadConfig", pb.ReloadConfigRequest(namespace="nobody"), "NOT_FOUND", "DOCUMENT_NOT_FOUND"),
    ("ValidateConfig", pb.ValidateConfigRequest.FromString(b"\x10\x11"), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("UpdateConfig", pb.UpdateConfigRequest(), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b"{}", expected_version=7), "ABORTED", "VERSION_MISMATCH"),
    (
        "UpdateConfig",
        pb.UpdateConfigRequest(merge_patch=b"{}", message="x" * 1025),
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
    ),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b"{}", request_id="\n"), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b'{"a": NaN}'), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b'{"a": 1e999}'), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b'{"a": 1, "a": 2}'), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b'{"a": "\xff"}'), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=DEEP), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(merge_patch=b" " * 2 * MEBIBYTE), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(replace=b"[]"), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("UpdateConfig", pb.UpdateConfigRequest(replace=b'{"server": 1}'), "INVALID_ARGUMENT", "DOCUMENT_INVALID"),
    ("WatchConfig", pb.WatchConfigRequest(namespaces=["nobody"]), "NOT_FOUND", "DOCUMENT_NOT_FOUND"),
    ("WatchConfig", pb.WatchConfigRequest(namespaces=["a"] * 101), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("WatchConfig", pb.WatchConfigRequest(resume_token="?"), "INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"),
    ("WatchConfig", pb.WatchConfigRequest(resume_token="é"), "INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all requests of this file: none of them may keep it from answering the next."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    daemon.save("schema.json", {"properties": {"server": {"type": "object"}}})
    daemon.save("default.json", {"server": {"port": 80}})
    daemon.save("namespaces/bare/default.json", {"a": 1})
    daemon.start()
    yield daemon
    assert daemon.get() == (1, {"server": {"port": 80}})
    daemon.stop()
    assert '"level": "error"' not in daemon.log()
    daemon.close()


@pytest.fixture
def call(served: Daemon) -> Iterator[Callable[[str, bytes], Failed]]:
    """Sends bytes to a method, and returns how that failed."""
    with connect(served.target) as channel:

        def send(method: str, data: bytes) -> Failed:
            return failed(_error(channel, method, data))

        yield send


@pytest.mark.parametrize(("method", "request_", "code", "reason"), WRONG)
def test_a_wrong_request_is_told_why(
    call: Callable[[str, bytes], Failed], method: str, request_: Any, code: str, reason: str
) -> None:
    """Each way to be wrong has its code and its one reason."""
    failure = call(CONFIG + method, request_.SerializeToString())
    assert (failure.code, failure.reason) == (code, reason)
    assert failure.message


@pytest.mark.parametrize("method", ["GetConfig", "UpdateConfig", "WatchConfig", "ListNamespaces"])
def test_bytes_that_are_no_message_are_told_as_such(call: Callable[[str, bytes], Failed], method: str) -> None:
    """Garbage in the place of a request is the caller's fault, and said to be."""
    failure = call(CONFIG + method, b"\xff\xff\xff\xff")
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert failure.metadata == {"field": "request"}


def test_unknown_fields_are_ignored(served: Daemon) -> None:
    """A newer client may say more than this daemon understands."""
    with connect(served.target) as channel:
        method = channel.unary_unary(CONFIG + "GetConfig", bytes, pb.GetConfigResponse.FromString)
        assert method(b"\x9a\x06\x03abc", timeout=5).version == 1


def test_a_request_over_the_limit_is_refused_by_the_transport(served: Daemon) -> None:
    """More than limits.request_bytes never reaches us: gRPC itself says RESOURCE_EXHAUSTED, without details."""
    request = pb.UpdateConfigRequest(merge_patch=b" " * HUGE)
    with connect(served.target) as channel:
        error = _error(channel, CONFIG + "UpdateConfig", request.SerializeToString())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert DETAILS not in dict(error.trailing_metadata() or ())


@pytest.mark.parametrize("method", [CONFIG + "DropConfig", "/vestry.v9.ConfigService/GetConfig", "/"])
def test_an_unknown_method_is_unimplemented(served: Daemon, method: str) -> None:
    """A method that we don't have is answered by gRPC itself, without details."""
    with connect(served.target) as channel:
        assert _error(channel, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_page_token_belongs_to_its_list(served: Daemon, call: Callable[[str, bytes], Failed]) -> None:
    """The token of one list doesn't open a page of another."""
    token = served.config.ListNamespaces(pb.ListNamespacesRequest(page_size=1)).next_page_token
    assert token
    failure = call(CONFIG + "ListConfigVersions", pb.ListConfigVersionsRequest(page_token=token).SerializeToString())
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("change", ["of-another-store", "from-the-future"])
def test_a_foreign_resume_token_is_refused(served: Daemon, call: Callable[[str, bytes], Failed], change: str) -> None:
    """A token that this store can't have given at its present revision is refused, and says whose it is."""
    with RawWatch(served.config) as watch:
        raw = base64.urlsafe_b64decode(watch.token)
    incarnation, revision = raw[:16], raw[16:]
    if change == "of-another-store":
        incarnation = bytes(16)
    else:
        revision = (int.from_bytes(revision, "big") + 1).to_bytes(8, "big")
    token = base64.urlsafe_b64encode(incarnation + revision).decode()
    failure = call(CONFIG + "WatchConfig", pb.WatchConfigRequest(resume_token=token).SerializeToString())
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "RESUME_TOKEN_FOREIGN")
    assert failure.metadata == {"token_incarnation": incarnation.hex(), "incarnation": raw[:16].hex()}


def test_a_request_id_is_for_one_request(daemon: Daemon) -> None:
    """A request id that was used for something else is refused; for the same, it brings the same answer."""
    first = daemon.update({"a": 1}, request_id="one")
    assert daemon.update({"a": 1}, request_id="one") == first
    with pytest.raises(grpc.RpcError) as raised:
        daemon.update({"a": 2}, request_id="one")
    failure = failed(raised.value)
    assert (failure.code, failure.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert daemon.get()[1]["a"] == 1


def test_a_secret_that_is_refused_is_not_repeated(daemon: Daemon) -> None:
    """A value that the schema marks as secret is in no error, and in no line of the log."""
    secret = "correct horse battery staple"
    with pytest.raises(grpc.RpcError) as raised:
        daemon.update({"password": secret})
    assert failed(raised.value).reason == "DOCUMENT_INVALID"
    assert secret not in str(raised.value)
    daemon.save("override.json", {"password": secret})
    assert secret not in daemon.notify.wait_for("STATUS")["STATUS"]
    assert daemon.lines("document.rejected")
    assert secret not in daemon.log()


def _error(channel: grpc.Channel, method: str, data: bytes) -> Any:
    """Return how a call fails. A unary call ends like a stream that has no message."""
    try:
        for _ in channel.unary_stream(method, bytes, bytes)(data, timeout=10):
            pass
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was answered")
