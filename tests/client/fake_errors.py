"""How the fake daemon ends a call: as the real one does, with a google.rpc.Status and its details."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

RpcContext = grpc.aio.ServicerContext[Any, Any]


async def abort(context: RpcContext, code: grpc.StatusCode, reason: str, **metadata: str) -> NoReturn:
    """End a call as the daemon does: with a Status and its ErrorInfo."""
    info = error_details_pb2.ErrorInfo(domain="vestry", reason=reason, metadata=metadata)
    await _abort_with(context, code, f"the fake says {reason}", info)


async def abort_invalid(context: RpcContext, *, pointer: str, rule: str, message: str) -> NoReturn:
    """End a call whose document is invalid."""
    bad_request = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field=pointer, reason=rule, description=message)]
    )
    info = error_details_pb2.ErrorInfo(domain="vestry", reason="DOCUMENT_INVALID", metadata={"violations": "1"})
    await _abort_with(context, grpc.StatusCode.INVALID_ARGUMENT, "config is invalid", info, bad_request)


async def _abort_with(context: RpcContext, code: grpc.StatusCode, message: str, *details: Any) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, message)
