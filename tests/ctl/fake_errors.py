"""How the fake daemon ends a call: as the real one does, with a google.rpc.Status and its details."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from vestry.v1 import common_pb2


def abort(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, message: str) -> NoReturn:
    """End a call as the daemon does: with a Status and its ErrorInfo."""
    _abort_with(context, code, message, error_details_pb2.ErrorInfo(domain="vestry", reason=reason))


def abort_field(context: grpc.ServicerContext, field: str, problem: str) -> NoReturn:
    """End a call because of a field of its request."""
    info = error_details_pb2.ErrorInfo(domain="vestry", reason="INVALID_FIELD", metadata={"field": field})
    blame = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field=field, description=problem)]
    )
    _abort_with(context, grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {problem}", info, blame)


def abort_invalid(
    context: grpc.ServicerContext, name: str, found: list[common_pb2.Violation], *, kind: str = "config"
) -> NoReturn:
    """End a call whose document is invalid."""
    metadata = {"kind": kind, "name": name, "violations": str(len(found))}
    info = error_details_pb2.ErrorInfo(domain="vestry", reason="DOCUMENT_INVALID", metadata=metadata)
    blame = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=each.pointer, reason=each.rule, description=each.message)
            for each in found
        ]
    )
    _abort_with(context, grpc.StatusCode.INVALID_ARGUMENT, f"{kind} {name!r} is invalid", info, blame)


def _abort_with(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *details: Any) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
