"""The bare server: one empty unary method on grpc.aio, no interceptor, no message type, uvloop.

`python -m tests.benchmarks.echo` prints its address and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal

import grpc.aio
import uvloop

METHOD = "/bench.Echo/Empty"


async def _empty(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def serve() -> None:
    """Serves on a free port of loopback."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    service, method = METHOD.strip("/").split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_empty)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 -- whoever started it reads the address
    await stop.wait()
    await server.stop(grace=1.0)


if __name__ == "__main__":
    uvloop.run(serve())
