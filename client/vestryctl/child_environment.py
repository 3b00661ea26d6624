"""The environment of a command that vestryctl starts: its own, less what it makes itself known with."""

from __future__ import annotations

import os
from typing import Final

from vestry.credentials import TOKEN, TOKEN_FILE

CREDENTIALS: Final = frozenset({os.fsencode(TOKEN), os.fsencode(TOKEN_FILE)})


def child_environment() -> dict[bytes, bytes]:
    """Return the variables for a command, which is to have what it is given, not all that its caller may have."""
    return {name: value for name, value in os.environb.items() if name not in CREDENTIALS}
