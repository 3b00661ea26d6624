from __future__ import annotations

import asyncio
from pathlib import Path

from ctl.running import run
from transports.secure_wire import Place, serving


async def test_a_daemon_that_wants_tls_is_no_riddle(tmp_path: Path) -> None:
    """The message says so, and what can be done, where gRPC says `Socket closed`."""
    async with serving(Place(tmp_path)) as place:
        result = await asyncio.to_thread(run, "--address", f"127.0.0.1:{place.port}", "status")
    assert result.returncode == 3
    assert "wants TLS" in result.stderr
    assert "VESTRY_TLS_CA" in result.stderr
