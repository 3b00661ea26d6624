"""Unix sockets that the daemon listens on: whether a path is free, and who may connect."""

from __future__ import annotations

import shutil
import socket
import stat
from pathlib import Path

from vestryd.domain.errors import AddressUnusable

MAX_PATH_BYTES = 107  # unix(7): sun_path, less its terminating null


def check_free(path: Path) -> None:
    """Raise AddressUnusable when somebody serves on the socket, or when it is a file of another kind."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AddressUnusable(f"unix:{path}", "there is a file of that name, which is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except OSError as error:
        raise AddressUnusable(f"unix:{path}", error.strerror or str(error)) from error
    raise AddressUnusable(f"unix:{path}", "another process serves there")


def guard(path: Path, *, mode: int, group: str) -> None:
    """Give the socket its mode and its group (empty: as it is). Raises AddressUnusable."""
    try:
        if group:
            shutil.chown(path, group=group)
        path.chmod(mode)
    except (OSError, LookupError) as error:
        raise AddressUnusable(f"unix:{path}", f"its mode or group can't be set: {error}") from error
