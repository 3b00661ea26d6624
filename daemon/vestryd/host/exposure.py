"""Who else can write where the daemon believes what it reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vestryd.domain import access

POLICY_FILES = f"{access.KIND}*"  # in the configuration directory


def exposures(state_directory: Path, configuration_directory: Path) -> Iterator[str]:
    """Yield, a sentence each, what others than the daemon's user and root can write to.

    A group may share the configuration, as people do who edit it together; nobody shares the state.
    """
    if writers := _writers(state_directory, allowed=stat.S_IRWXU):
        yield (
            f"{writers} can write to the state directory {state_directory}, and so put another store in the place of this "
            "one: give it to the daemon's user, with mode 0700"
        )
    for path in (configuration_directory, *sorted(configuration_directory.glob(POLICY_FILES))):
        if writers := _writers(path, allowed=stat.S_IRWXU | stat.S_IRWXG):
            yield f"{writers} can write to {path}, and so decide who may do what: chmod o-w"


def _writers(path: Path, *, allowed: int) -> str:
    """Return who can write to a path and should not, empty for nobody; nor does a path that isn't there say anything."""
    try:
        status = path.stat()
    except OSError:
        return ""
    if status.st_uid not in {0, os.geteuid()}:
        return f"uid {status.st_uid}"
    return "others" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) & ~allowed else ""
