from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from vestry.v1 import common_pb2, config_pb2, secrets_pb2, tokens_pb2
from vestryd.services.access import AccessService
from vestryd.services.admin import AdminService
from vestryd.services.audit import AuditService
from vestryd.services.config import ConfigService
from vestryd.services.methods import FILES, Kind, MethodWithoutAccess, table
from vestryd.services.seal import SealService
from vestryd.services.secrets import SecretsService
from vestryd.services.tokens import TokenService


def file_with(*, action: str = "thing.read", resource: str = "things", **options: Any) -> FileDescriptor:
    """Return a file of one service with one method, which takes a request with the field `name`."""
    access = common_pb2.MethodAccess(action=action, resources=[resource] if resource else [])
    file = descriptor_pb2.FileDescriptorProto(
        name="thing.proto", package="thing.v1", syntax="proto3", dependency=["vestry/v1/common.proto"]
    )
    request = file.message_type.add(name="GetThingRequest")
    request.field.add(name="name", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    file.message_type.add(name="GetThingResponse")
    method = file.service.add(name="ThingService").method.add(
        name="GetThing",
        input_type=".thing.v1.GetThingRequest",
        output_type=".thing.v1.GetThingResponse",
        **options,
    )
    if action or resource:
        method.options.Extensions[common_pb2.access].CopyFrom(access)
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, common_pb2.DESCRIPTOR):
        pool.AddSerializedFile(known.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName("thing.proto")


def test_every_method_of_every_service_is_in_the_table() -> None:
    """Under its name on the wire, with the types that the proto gives it."""
    found = table()
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                entry = found.pop(f"/{service.full_name}/{method.name}")
                assert entry.request.DESCRIPTOR is method.input_type
                assert entry.response.DESCRIPTOR is method.output_type
    assert found == {}


def test_every_method_is_answered() -> None:
    """By a function of its service that is named after it, as Python writes names."""
    kinds = (AccessService, AdminService, AuditService, ConfigService, SealService, SecretsService, TokenService)
    services: dict[str, type] = {kind.service: kind for kind in kinds}
    assert [path for path, one in table().items() if not callable(getattr(services[one.service], one.handler))] == []


def test_the_table_tells_what_the_options_say() -> None:
    """The action, the resource, and whether the method only reads from memory."""
    found = table()["/vestry.v1.ConfigService/GetConfig"]
    assert (found.action, found.is_pure_read, found.is_for_any_caller, found.kind, found.handler) == (
        "config.read",
        True,
        False,
        Kind.UNARY,
        "get_config",
    )


def test_only_watches_and_copies_are_streams() -> None:
    """The rest have one answer."""
    assert {one.name for one in table().values() if one.kind is Kind.STREAM} == {
        "CreateBackup",
        "ExportAudit",
        "ExportSecrets",
        "WatchAudit",
        "WatchConfig",
        "WatchSecrets",
    }


def test_what_only_reads_is_not_marked_as_more() -> None:
    """Writes, reloads and watches are no pure reads."""
    writes = {"UpdateConfig", "RollbackConfig", "ReloadConfig", "WatchConfig", "CreateBackup"}
    assert not any(one.is_pure_read for one in table().values() if one.name in writes)


@pytest.mark.parametrize(("action", "resource"), [("", ""), ("thing.read", ""), ("", "things")])
def test_a_method_without_access_is_refused(action: str, resource: str) -> None:
    """The daemon must not start with a door that nobody guards."""
    with pytest.raises(MethodWithoutAccess, match=r"thing\.v1\.ThingService\.GetThing"):
        table([file_with(action=action, resource=resource)])


def test_a_resource_names_fields_that_the_request_has() -> None:
    """Else nothing could be checked at the door."""
    method = table([file_with(resource="things/{name}")])["/thing.v1.ThingService/GetThing"]
    assert method.resources(method.request(name="hammer")) == ("things/hammer",)
    with pytest.raises(MethodWithoutAccess, match="'nick'"):
        table([file_with(resource="things/{nick}")])


@pytest.mark.parametrize(
    ("name", "request_", "resources"),
    [
        ("GetConfig", config_pb2.GetConfigRequest(), ["namespaces/default/config"]),
        ("GetConfig", config_pb2.GetConfigRequest(namespace="a/../b"), ["namespaces/a%2F..%2Fb/config"]),
        ("GetSecret", secrets_pb2.GetSecretRequest(name="x"), ["namespaces/default/secrets/x"]),
        ("ReloadConfig", config_pb2.ReloadConfigRequest(), ["namespaces/*/config"]),
        ("WatchConfig", config_pb2.WatchConfigRequest(), ["namespaces/default/config"]),
        (
            "WatchConfig",
            config_pb2.WatchConfigRequest(namespaces=["a", "b"]),
            ["namespaces/a/config", "namespaces/b/config"],
        ),
        ("CreateToken", tokens_pb2.CreateTokenRequest(user="ci"), ["users/ci/tokens"]),
        ("CreateToken", tokens_pb2.CreateTokenRequest(user="ci", groups=["g"]), ["users/ci/tokens", "groups/g/tokens"]),
    ],
)
def test_a_request_tells_its_resources(name: str, request_: Message, resources: list[str]) -> None:
    """A repeated field makes many, an empty namespace is `default`, or every one, and no value makes two segments."""
    method = next(one for one in table().values() if one.name == name)
    assert list(method.resources(request_)) == resources
