"""What requests of several services hold alike: from fields to the domain's terms, checked."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from vestry.v1.config_pb2 import WatchConfigRequest
from vestry.v1.secrets_pb2 import WatchSecretsRequest
from vestryd.domain.errors import InvalidField
from vestryd.domain.names import check_namespace
from vestryd.services.call import Call

MAX_REQUEST_ID_CHARACTERS = 128
MAX_WATCHED_NAMESPACES = 100


def check_request_id(request_id: str) -> None:
    """Raise InvalidField when this can't be the id of a request."""
    printable = request_id.isascii() and request_id.isprintable()
    if len(request_id) > MAX_REQUEST_ID_CHARACTERS or not printable:
        raise InvalidField("request_id", f"use at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters")


def watched_namespaces(request: WatchConfigRequest | WatchSecretsRequest, call: Call) -> list[str]:
    """Return which namespaces are to be watched, and note them for the log. Raises InvalidField."""
    if len(request.namespaces) > MAX_WATCHED_NAMESPACES:
        problem = f"{len(request.namespaces)} are named: watch at most {MAX_WATCHED_NAMESPACES} in one stream"
        raise InvalidField("namespaces", problem)
    names = [check_namespace(name) for name in request.namespaces or [""]]
    call.facts["namespaces"] = names
    return names


def span(where: str, said: Duration) -> timedelta:
    """Return a span of time. Raises InvalidField, naming the field `where`."""
    try:
        return said.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidField(where, "it is no span of time") from error
