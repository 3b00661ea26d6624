"""The floor: an empty handler on grpc.aio, in a process of its own. `python -m bench.floor HEX` answers those bytes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from grpc import aio


class Answer(grpc.GenericRpcHandler):
    """Answers every unary call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        async def unary(_request: bytes, _context: aio.ServicerContext[Any, Any]) -> bytes:
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(unary)

    def service(self, _call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the one handler."""
        return self._handler


async def serve(answer: bytes) -> None:
    """Serve until killed; the port is printed once it is open."""
    server = aio.server()
    server.add_generic_rpc_handlers((Answer(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(bytes.fromhex(sys.argv[1])))
