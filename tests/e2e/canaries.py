"""Known values, and the search for what is left of them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PIECE_BYTES = 24  # a long value is looked for in pieces: a database cuts it anywhere, and a log shortens it
_PIECES = 8
_ALIGNMENTS = range(3)  # of base64, which turns 3 bytes into 4 characters
_ESCAPED = 12  # bytes of a piece that are looked for as a program would print them


class Canaries:
    """Values that must not be found: what each is -> itself, and the forms of its pieces."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._forms: dict[bytes, str] = {}  # a form -> whose it is

    def text(self, what: str, length: int = 24) -> str:
        """Return a new random text."""
        return self.keep(what, (os.urandom(length).hex()[:length]).encode()).decode()

    def binary(self, what: str, length: int) -> bytes:
        """Return new random bytes."""
        return self.keep(what, os.urandom(length))

    def keep(self, what: str, value: bytes) -> bytes:
        """Look for this value too, and return it."""
        assert what not in self.values
        self.values[what] = value
        for piece in _pieces(value):
            self._forms |= dict.fromkeys(forms(piece), what)
        return value

    def found_in(self, content: bytes) -> set[str]:
        """Return which of them are in `content`, in any form."""
        return {what for form, what in self._forms.items() if form in content}

    def found_below(self, *places: Path) -> Mapping[str, set[str]]:
        """Return the files at and below these places that have any of them: name -> which."""
        files = {path: self.found_in(path.read_bytes()) for path in _files(places)}
        assert files, f"there is nothing in {places}"
        return {path.name: found for path, found in files.items() if found}


def forms(piece: bytes) -> Iterator[bytes]:
    """Yield what a piece of a value looks like: as it is, in hexadecimal digits, in base64, and as programs print it."""
    yield piece
    yield piece.hex().encode()
    yield piece.hex().upper().encode()
    for skipped in _ALIGNMENTS:
        whole = piece[skipped : skipped + (len(piece) - skipped) // 3 * 3]
        yield base64.b64encode(whole)
        yield base64.urlsafe_b64encode(whole)
    start = piece[:_ESCAPED]
    yield repr(start)[2:-1].encode()
    for encoding in ("latin-1", "utf-8"):
        text = start.decode(encoding, "replace")
        if "\ufffd" not in text:
            yield json.dumps(text)[1:-1].encode()


def _pieces(value: bytes) -> Iterator[bytes]:
    """Yield pieces from all over a value, its beginning and its end among them."""
    last = max(0, len(value) - PIECE_BYTES)
    for start in sorted({last * number // (_PIECES - 1) for number in range(_PIECES)}):
        yield value[start : start + PIECE_BYTES]


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_file():
            yield place
        else:
            yield from (path for path in place.rglob("*") if path.is_file())
