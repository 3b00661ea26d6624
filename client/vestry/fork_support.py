"""Loads grpc with its fork support off.

That support can't cope with grpc.aio: a child of a process that used a client died of SIGSEGV, somewhere, in one of four
forks; with it off in none of 300 (grpcio 1.85.1, measured). gRPC looks at the setting when it is loaded, so this module is
imported first; it leaves the environment as it was. Who sets GRPC_ENABLE_FORK_SUPPORT, or imports grpc before vestry, has
chosen otherwise.
"""

from __future__ import annotations

import os

_SETTING = "GRPC_ENABLE_FORK_SUPPORT"

if _SETTING not in os.environ:
    os.environ[_SETTING] = "0"
    try:
        import grpc  # noqa: F401 - for its effect: it reads the setting
    finally:
        del os.environ[_SETTING]
