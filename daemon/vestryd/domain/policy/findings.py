"""What is wrong with a policy, and the checks of text that its parts share."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable

from vestryd.domain.errors import SourceInvalid, Violation
from vestryd.domain.faults import shown
from vestryd.domain.jsonvalue import Json
from vestryd.domain.pointer import join
from vestryd.domain.schema.messages import excerpt

MAX_FINDINGS = 100
MAX_NAME = 128  # characters of the name of a user, a group, a role or a rule

Path = tuple[str | int, ...]  # the unescaped parts of a pointer

# For each character of a known name, comparing another with it takes up to 10 µs, on the event loop.
_MAX_COMPARED = 50_000  # characters of known names, for a document
_MAX_UNKNOWN = 64  # characters of the other
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})  # general categories: control, format, line and paragraph separators


class Findings:
    """What is wrong with one document, gathered while it is read."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []
        self._compared = 0  # characters

    def add(self, path: Path, rule: str, message: str, value: Json = None) -> None:
        """Take down a violation; `value` None means that there is none to show. Raises SourceInvalid for the last of many."""
        shown_value = "" if value is None else excerpt(value)
        self._violations.append(Violation(join(path), rule, message, shown_value))
        if len(self._violations) == MAX_FINDINGS:
            self.raise_any()

    def suggestion(self, name: str, known: Iterable[str]) -> str:
        """Return `: did you mean 'x'?` when one of `known` is near to `name`; nothing else, or when too much was compared."""
        names = sorted(known)
        self._compared += sum(map(len, names))
        if len(name) > _MAX_UNKNOWN or self._compared > _MAX_COMPARED:
            return ""
        close = difflib.get_close_matches(name, names, n=1)
        return f": did you mean {shown(close[0])}?" if close else ""

    def raise_any(self) -> None:
        """Raise SourceInvalid if anything is wrong."""
        if self._violations:
            raise SourceInvalid(tuple(self._violations))


def text_problem(text: str, *, longest: int) -> str:
    """Return why nobody could tell `text` from another one by looking, or why it is too long; empty when it is fine.

    What is compared byte by byte must not hold what can't be seen, nor have two spellings (Unicode's NFC is the one).
    """
    if not text:
        return "it is empty"
    if len(text) > longest:
        return f"it has {len(text)} characters, and at most {longest} are allowed"
    hidden = next((character for character in text if unicodedata.category(character) in _UNSEEN), "")
    if hidden:
        return f"it has the character U+{ord(hidden):04X}, which can't be seen"
    if not unicodedata.is_normalized("NFC", text):
        return f"it is not in Unicode's normal form NFC: write {shown(unicodedata.normalize('NFC', text))}"
    return ""


def name_problem(name: str) -> str:
    """Return why `name` can't be that of a user, a group, a role or a rule; empty when it can."""
    if "/" in name:
        return "it has a '/', which parts the segments of a resource"
    return text_problem(name, longest=MAX_NAME)


def check_names(names: Collection[str], section: str, findings: Findings) -> None:
    """Find fault with the members of a section of the document."""
    for name in names:
        problem = name_problem(name)
        if problem:
            findings.add((section, name), "name", f"the name {shown(name)} can't be used: {problem}")
