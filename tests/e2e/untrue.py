"""vestryd with a weakness that it doesn't have: its slots labelled `untrue` open to another key than the root key."""

from __future__ import annotations

import os
import sys
from typing import Any

from vestryd.__main__ import main
from vestryd.domain.sealing.slots import make_slot
from vestryd.domain.secrets import unlock


def _made(root_key: bytes, *arguments: Any, label: str, **options: Any) -> Any:
    key = os.urandom(len(root_key)) if label == "untrue" else root_key
    return make_slot(key, *arguments, label=label, **options)


if __name__ == "__main__":
    unlock.make_slot = _made  # type: ignore[attr-defined] # it is where the weakness is put in
    sys.exit(main())
