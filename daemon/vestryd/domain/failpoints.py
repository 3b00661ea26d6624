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
        "access.policy.after_commit",
        "access.policy.before_commit",
        "audit.checkpoint.sync",
        "audit.checkpoint.write",
        "audit.founding.rename",
        "audit.founding.write",
        "audit.key.replace",
        "audit.key.write",
        "audit.records.answer",
        "audit.records.sync",
        "audit.records.write",
        "audit.segment.create",
        "audit.segment.sync",
        "keyring.found.after_commit",
        "keyring.found.before_commit",
        "keyring.retire.after_commit",
        "keyring.retire.before_commit",
        "keyring.rotate.activate.after_commit",
        "keyring.rotate.activate.before_commit",
        "keyring.rotate.pending.after_commit",
        "keyring.rotate.pending.before_commit",
        "seal.slot.add.after_commit",
        "seal.slot.add.before_commit",
        "seal.slot.remove.after_commit",
        "seal.slot.remove.before_commit",
        "seal.slot.undo.after_commit",
        "seal.slot.undo.before_commit",
        "secrets.delete.after_commit",
        "secrets.delete.before_commit",
        "secrets.destroy.after_commit",
        "secrets.destroy.before_commit",
        "secrets.import.after_commit",
        "secrets.import.before_commit",
        "secrets.put.after_commit",
        "secrets.put.before_commit",
        "secrets.rewrap.after_commit",
        "secrets.rewrap.before_commit",
        "secrets.rotate.after_commit",
        "secrets.rotate.before_commit",
        "secrets.undelete.after_commit",
        "secrets.undelete.before_commit",
        "secrets.update.after_commit",
        "secrets.update.before_commit",
        "tokens.create.after_commit",
        "tokens.create.before_commit",
        "tokens.revoke.after_commit",
        "tokens.revoke.before_commit",
        "tokens.use.after_commit",
        "tokens.use.before_commit",
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
