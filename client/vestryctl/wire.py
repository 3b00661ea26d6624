"""The daemon's messages as plain values, in the shape that `-o json` and `-o yaml` print.

A message is an object with the proto's field names. Every field is there, also when it is empty: an absent message, an
unset enum and an empty document are null; of a oneof only the member that is set is there. Bytes are documents, so they
appear as the JSON that they hold; those that the proto marks as secret (debug_redact) are null. Enums are their names
without prefix, in lower case; times are RFC 3339 in UTC, spans of time seconds such as "3600s"; 64-bit integers are
numbers; maps are objects.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from vestry.v1 import common_pb2
from vestryctl.failures import Failure

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message


def as_value(message: Message) -> dict[str, Any]:
    """Return `message` in the shape that this module's docstring describes."""
    return {
        field.name: _field_value(message, field) for field in message.DESCRIPTOR.fields if _is_shown(message, field)
    }


def json_value(document: bytes) -> Any:
    """Return the JSON that `document` holds; None when it is empty."""
    if not document:
        return None
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as error:
        raise Failure("the daemon's answer can't be read: it holds a document that is not JSON") from error


def enum_name(enum: EnumDescriptor, number: int) -> str | None:
    """Return the short name of an enum's value, e.g. `runtime` for LAYER_RUNTIME; None for the unset one.

    A number that this release doesn't know becomes its digits.
    """
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    return str(value.name).removeprefix(enum.values[0].name.removesuffix("UNSPECIFIED")).lower()


def layer_name(layer: int) -> str:
    """Return the name of a layer, as `--layer` takes it."""
    return enum_name(common_pb2.Layer.DESCRIPTOR, layer) or ""


def layer_number(name: str | None) -> common_pb2.Layer.ValueType:
    """Return the layer that `--layer` names; None is the unset one."""
    return common_pb2.Layer.Value(f"LAYER_{name.upper()}") if name else common_pb2.LAYER_UNSPECIFIED


def _is_shown(message: Message, field: Any) -> bool:
    return field.containing_oneof is None or message.HasField(field.name)


def _field_value(message: Message, field: Any) -> Any:
    if field.GetOptions().debug_redact:
        return None
    value = getattr(message, field.name)
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_single_value(field, each) for each in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _single_value(field, value)


def _single_value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp | Duration):
        return value.ToJsonString()
    if field.message_type is not None:
        return as_value(value)
    if field.enum_type is not None:
        return enum_name(field.enum_type, value)
    if isinstance(value, bytes):
        return json_value(value)
    return value
