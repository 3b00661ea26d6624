"""The method table: what each RPC takes, gives and requires, as the protos say it.

Everything that must know of methods reads this table: the pipeline, the transports, the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vestry.v1 import admin_pb2, audit_pb2, common_pb2, config_pb2

FILES: tuple[FileDescriptor, ...] = (admin_pb2.DESCRIPTOR, audit_pb2.DESCRIPTOR, config_pb2.DESCRIPTOR)


class Kind(Enum):
    """How a method answers."""

    UNARY = auto()
    STREAM = auto()


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `path` is its name on the wire, `/package.Service/Method`; `handler` that of the function that answers it.

    `action` is what the caller must be allowed on `resource`, a path in which `{field}` stands for a field of the request.
    """

    path: str
    service: str
    name: str
    handler: str
    kind: Kind
    request: type[Message]
    response: type[Message]
    action: str
    resource: str
    is_pure_read: bool


class MethodWithoutAccess(Exception):
    """A method names no action, or a resource with a field that its request lacks: the daemon must not start."""


def table(files: Iterable[FileDescriptor] = FILES) -> dict[str, Method]:
    """Return path -> method for every service of the files. Raises MethodWithoutAccess."""
    methods = (
        _method(method) for file in files for service in file.services_by_name.values() for method in service.methods
    )
    return {method.path: method for method in methods}


def _method(descriptor: MethodDescriptor) -> Method:
    service = descriptor.containing_service.full_name
    access = descriptor.GetOptions().Extensions[common_pb2.access]
    if not access.action or not access.resource:
        raise MethodWithoutAccess(f"{service}.{descriptor.name} lacks the option (vestry.v1.access)")
    for field in _fields(access.resource):
        if field not in descriptor.input_type.fields_by_name:
            raise MethodWithoutAccess(f"{service}.{descriptor.name}: its request has no field {field!r}")
    return Method(
        path=f"/{service}/{descriptor.name}",
        service=service,
        name=descriptor.name,
        handler=_snake(descriptor.name),
        kind=Kind.STREAM if descriptor.server_streaming else Kind.UNARY,
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        action=access.action,
        resource=access.resource,
        is_pure_read=access.pure_read,
    )


def _fields(resource: str) -> list[str]:
    return [part[1:-1] for part in resource.split("/") if part.startswith("{") and part.endswith("}")]


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
