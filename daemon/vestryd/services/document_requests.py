"""What requests about layered documents hold: from fields to the domain's terms, checked."""

from __future__ import annotations

from vestry.v1 import common_pb2 as common
from vestry.v1.access_pb2 import RollbackPolicyRequest, UpdatePolicyRequest
from vestry.v1.config_pb2 import RollbackConfigRequest, UpdateConfigRequest
from vestryd.domain.errors import DocumentInvalid, InvalidField, SourceInvalid
from vestryd.domain.formats.formats import parse, require_object
from vestryd.domain.jsonvalue import Json, checksum
from vestryd.domain.layered import Write
from vestryd.domain.layers import Layer
from vestryd.domain.sealing.binary import fields
from vestryd.services.call import Call
from vestryd.services.common_requests import check_request_id

MAX_MESSAGE_CHARACTERS = 1024

WriteRequest = UpdateConfigRequest | RollbackConfigRequest | UpdatePolicyRequest | RollbackPolicyRequest


def write(request: WriteRequest, call: Call) -> Write:
    """Return what a write says beside its change. Raises InvalidField."""
    if len(request.message) > MAX_MESSAGE_CHARACTERS:
        raise InvalidField("message", f"it is longer than {MAX_MESSAGE_CHARACTERS} characters")
    check_request_id(request.request_id)
    return Write(
        author=call.caller.name,
        message=request.message,
        expected_version=request.expected_version if request.HasField("expected_version") else None,
        dry_run=request.dry_run,
        request_id=request.request_id,
        call_id=call.request_id,
        fingerprint=checksum(_asked(request, call)),
    )


def _asked(request: WriteRequest, call: Call) -> bytes:
    """Return who asks for what: another caller with the same request_id is not answered in its place."""
    return fields(call.method.path, call.caller.name, request.SerializeToString(deterministic=True))


def json_object(kind: str, name: str, field: str, content: bytes) -> Json:
    """Return the JSON object in a field of the request. Raises DocumentInvalid, naming the field as its file."""
    try:
        return require_object(parse(content, format="json", file=field), file=field)
    except SourceInvalid as error:
        raise DocumentInvalid(kind, name, error.violations) from error


def layer(number: common.Layer.ValueType) -> Layer | None:
    """Return the layer of that number, None for LAYER_UNSPECIFIED. Raises InvalidField."""
    try:
        return Layer(number) if number else None
    except ValueError as error:
        raise InvalidField("layer", f"there is no layer {number}") from error


def version_number(field: str, number: int) -> int:
    """Return a version's number, 0 for the current one. Raises InvalidField."""
    if number < 0:
        raise InvalidField(field, "a version is 1 or more; 0 means the current one")
    return number
