"""Being an ordinary user, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import pytest

ROOTS_RIGHTS = "-dac_override,-dac_read_search"  # to read and write whatever the mode is


def without_roots_rights() -> Sequence[str]:
    """Return what goes before a command so that it may do to files what their owner may, and no more."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may read and write anything, and there is no setpriv to change that")
    return ("setpriv", "--inh-caps", ROOTS_RIGHTS, "--bounding-set", ROOTS_RIGHTS)
