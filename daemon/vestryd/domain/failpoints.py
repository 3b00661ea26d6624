"""Named places at which a test lets the daemon die, to prove that nothing is lost or half-done there.

A failpoint does nothing unless the process was started with VESTRY_FAILPOINT set to its name; then the process is killed as
by SIGKILL when it gets there, or, with `name:3`, the third time.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "VESTRY_FAILPOINT"

# Each persist step has one before it and one after it. A test visits every one of them.
NAMES = frozenset(
    {
        "access.policy.before_commit",
        "access.policy.after_commit",
        "tokens.create.before_commit",
        "tokens.create.after_commit",
        "tokens.revoke.before_commit",
        "tokens.revoke.after_commit",
    }
)

_name, _, _times = os.environ.get(VARIABLE, "").partition(":")
_left = {_name: int(_times or "1")} if _name else {}


def reach(name: str) -> None:
    """Die here, if this is the failpoint that the process was started with."""
    if not _left:
        return
    if name in _left:
        _left[name] -= 1
        if not _left[name]:
            os.kill(os.getpid(), signal.SIGKILL)
