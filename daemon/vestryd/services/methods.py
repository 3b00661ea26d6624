"""The method table: what each RPC takes, gives and requires, as the protos say it.

Everything that must know of methods reads this table: the pipeline, the transports, the documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vestry.v1 import access_pb2, admin_pb2, audit_pb2, common_pb2, config_pb2, seal_pb2, secrets_pb2, tokens_pb2
from vestryd.domain.names import DEFAULT_NAMESPACE

FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (access_pb2, admin_pb2, audit_pb2, config_pb2, seal_pb2, secrets_pb2, tokens_pb2)
)

NAMESPACES = frozenset({"namespace", "namespaces"})  # the fields in which an empty text means something
EVERY_NAMESPACE = "*"
_PLACE = re.compile(r"\{\w+\}")  # of a field, in a template

# What a request of a method asks for: the resources that its action is checked on.
Resources = Callable[[Message], Sequence[str]]


class Kind(Enum):
    """How a method answers."""

    UNARY = auto()
    STREAM = auto()


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `path` is its name on the wire, `/package.Service/Method`; `handler` that of the function that answers it.

    `action` is what the caller must be allowed on each of the `resources` of its request, whose paths have one of the
    `shapes`, in which `*` stands for any segment; with `is_for_any_caller` it is
    enough that the caller is known.
    """

    path: str
    service: str
    name: str
    handler: str
    kind: Kind
    request: type[Message]
    response: type[Message]
    action: str
    resources: Resources
    shapes: frozenset[str]
    is_pure_read: bool
    is_for_any_caller: bool


class MethodWithoutAccess(Exception):
    """A method names no action, or a resource with a field that its request lacks: the daemon must not start."""


def table(files: Iterable[FileDescriptor] = FILES) -> dict[str, Method]:
    """Return path -> method for every service of the files. Raises MethodWithoutAccess."""
    methods = (
        _method(method) for file in files for service in file.services_by_name.values() for method in service.methods
    )
    return {method.path: method for method in methods}


def actions(methods: Iterable[Method]) -> dict[str, frozenset[str]]:
    """Return every action that a policy may speak of -> the shapes of the resources that it is asked of."""
    found: dict[str, frozenset[str]] = {}
    for method in methods:
        found[method.action] = found.get(method.action, frozenset()) | method.shapes
    return found


def _method(descriptor: MethodDescriptor) -> Method:
    service = descriptor.containing_service.full_name
    access = descriptor.GetOptions().Extensions[common_pb2.access]
    if not access.action or not access.resources:
        raise MethodWithoutAccess(f"{service}.{descriptor.name} lacks the option (vestry.v1.access)")
    return Method(
        path=f"/{service}/{descriptor.name}",
        service=service,
        name=descriptor.name,
        handler=_snake(descriptor.name),
        kind=Kind.STREAM if descriptor.server_streaming else Kind.UNARY,
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        action=access.action,
        resources=_all_of([_expander(template, descriptor, access) for template in access.resources]),
        shapes=frozenset(_PLACE.sub("*", template) for template in access.resources),
        is_pure_read=access.pure_read,
        is_for_any_caller=access.any_caller,
    )


def _all_of(expanders: Sequence[Resources]) -> Resources:
    if len(expanders) == 1:
        return expanders[0]
    return lambda request: [resource for expand in expanders for resource in expand(request)]


def _expander(template: str, method: MethodDescriptor, access: common_pb2.MethodAccess) -> Resources:
    """Return what expands a template, in which `{field}` stands for a field of the request, and a repeated one for many."""
    fields = [_field(part[1:-1], method) for part in template.split("/") if part.startswith("{") and part.endswith("}")]
    names = [field.name for field in fields]
    empty_namespace = EVERY_NAMESPACE if access.empty_is_all else DEFAULT_NAMESPACE

    def segment(name: str, value: str) -> str:
        """Return a field's value as one segment of a path, whatever it holds."""
        return value.replace("/", "%2F") if value or name not in NAMESPACES else empty_namespace

    if not names:
        constant = (template,)
        return lambda _request: constant
    if len(names) == 1 and fields[0].is_repeated:
        name = names[0]
        return lambda request: [template.format_map({name: segment(name, one)}) for one in _values(request, name)]
    return lambda request: (template.format_map({name: segment(name, getattr(request, name)) for name in names}),)


def _field(name: str, method: MethodDescriptor) -> FieldDescriptor:
    request: Descriptor = method.input_type
    field = request.fields_by_name.get(name)
    if field is None or field.type != FieldDescriptor.TYPE_STRING:
        where = f"{method.containing_service.full_name}.{method.name}"
        raise MethodWithoutAccess(f"{where}: its request has no field {name!r} that is a text")
    return field


def _values(request: Message, name: str) -> Iterable[str]:
    """Return the values of a repeated field; of namespaces an empty one when there are none."""
    values: Sequence[str] = getattr(request, name)
    return values or ([""] if name in NAMESPACES else [])


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
