"""What the requests of ConfigService hold: from fields to the domain's terms, checked."""

from __future__ import annotations

from vestry.v1 import common_pb2 as common
from vestry.v1 import config_pb2 as pb
from vestryd.domain.config import KIND, Write
from vestryd.domain.errors import DocumentInvalid, InvalidField, InvalidPageToken, SourceInvalid
from vestryd.domain.formats import parse, require_object
from vestryd.domain.jsonvalue import Json, checksum
from vestryd.domain.layers import Layer
from vestryd.services.call import Call

MAX_MESSAGE_CHARACTERS = 1024
MAX_REQUEST_ID_CHARACTERS = 128


def write(request: pb.UpdateConfigRequest | pb.RollbackConfigRequest, call: Call) -> Write:
    """Return what a write says beside its change. Raises InvalidField."""
    if len(request.message) > MAX_MESSAGE_CHARACTERS:
        raise InvalidField("message", f"it is longer than {MAX_MESSAGE_CHARACTERS} characters")
    _check_request_id(request.request_id)
    return Write(
        author=call.caller,
        message=request.message,
        expected_version=request.expected_version if request.HasField("expected_version") else None,
        dry_run=request.dry_run,
        request_id=request.request_id,
        call_id=call.request_id,
        fingerprint=checksum(call.method.path.encode() + request.SerializeToString(deterministic=True)),
    )


def _check_request_id(request_id: str) -> None:
    printable = request_id.isascii() and request_id.isprintable()
    if len(request_id) > MAX_REQUEST_ID_CHARACTERS or not printable:
        raise InvalidField("request_id", f"use at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")


def json_object(namespace: str, field: str, content: bytes) -> Json:
    """Return the JSON object in a field of the request. Raises DocumentInvalid, naming the field as its file."""
    try:
        return require_object(parse(content, format="json", file=field), file=field)
    except SourceInvalid as error:
        raise DocumentInvalid(KIND, namespace, error.violations) from error


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


def page_start(position: str) -> int:
    """Return the version that a page begins with. Raises InvalidPageToken."""
    try:
        return int(position)
    except ValueError as error:
        raise InvalidPageToken from error
