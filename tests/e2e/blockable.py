"""vestryd with a weakness that it doesn't have: SIGUSR1 keeps its event loop from running for BLOCK_SECONDS."""

from __future__ import annotations

import signal
import sys
import time

from vestryd.__main__ import main

BLOCK_SECONDS = 1.5

if __name__ == "__main__":
    # A handler of Python runs in the main thread between two instructions; so in the loop, that runs there.
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(BLOCK_SECONDS))
    sys.exit(main())
