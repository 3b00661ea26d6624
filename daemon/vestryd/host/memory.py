"""What the process does so that its memory stays its own: no core dump, no debugger, no swap, as far as the system allows."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator

# linux/prctl.h and linux/mman.h
PR_SET_DUMPABLE = 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def protect() -> tuple[str, ...]:
    """Forbid core dumps and debuggers, and keep memory out of swap; return what could not be done, a sentence each.

    PR_SET_DUMPABLE also keeps other processes of the same user from reading /proc/<pid>/mem and environ. Memory is locked
    page by page as it is used (MCL_ONFAULT), so that what is only reserved costs nothing; that takes CAP_IPC_LOCK or an
    unlimited LimitMEMLOCK=, since a limit would make allocations fail later.
    """
    return tuple(_unprotected())


def _unprotected() -> Iterator[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError) as error:
        yield f"core dumps can't be forbidden: {error}"
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        yield f"debuggers can't be kept out: {os.strerror(ctypes.get_errno())}"
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY and not _has_ipc_lock():
        yield "memory can't be kept out of swap: give the daemon LimitMEMLOCK=infinity, or have no swap"
    elif libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT):
        yield f"memory can't be kept out of swap: {os.strerror(ctypes.get_errno())}"


def _has_ipc_lock() -> bool:
    """Tell whether the process has CAP_IPC_LOCK, number 14 of capabilities(7)."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - one line of a file that is no file
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> 14 & 1)
