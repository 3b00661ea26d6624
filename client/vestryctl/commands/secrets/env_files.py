r"""Files of environment variables, as `.env` files are written.

A line is `NAME=VALUE`, with `export` before it or not; empty lines and those that begin with `#` say nothing. A value is

- bare: as it stands, without the white space around it, up to a `#` that follows white space;
- in single quotes: as it stands, line breaks included;
- in double quotes: line breaks included, with the escapes \n \r \t \\ \" and \$; another one is an error.

Nothing is expanded: `$NAME` stands for itself, in bare values too. Lines may end in CRLF.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn

from vestryctl.failures import Failure

_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#'\"]+)[ \t]*=[ \t]*")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_BARE = re.compile(r"(?P<value>[^\n]*?)(?:[ \t]+#[^\n]*)?[ \t]*(?:\n|\Z)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}


class Variable(NamedTuple):
    """One assignment. It must not be shown whole: the value is a secret."""

    name: str
    value: str
    line: int

    def __repr__(self) -> str:
        return f"<Variable {self.name}, line {self.line}>"


def parse_env(content: bytes, file: str) -> list[Variable]:
    """Return the assignments of a file, in order. Raises Failure that names the line; none quotes a value."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"{file}:{line}: the file is not UTF-8 text"
    else:
        return _Parser(text, file).variables()
    raise Failure(problem)  # here, so that the file's content is in no traceback


class _Parser:
    """Reads one text from its start to its end."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._place = 0

    def variables(self) -> list[Variable]:
        """Return all assignments; a name that comes twice is an error."""
        lines: dict[str, int] = {}  # name -> the line that assigns it
        found: list[Variable] = []
        while self._place < len(self._text):
            if blank := _BLANK.match(self._text, self._place):
                self._place = blank.end()
                continue
            variable = self._variable()
            if variable.name in lines:
                self._fail(variable.line, f"{variable.name} is given in line {lines[variable.name]} already")
            lines[variable.name] = variable.line
            found.append(variable)
        return found

    def _variable(self) -> Variable:
        line = self._line(self._place)
        assignment = _ASSIGNMENT.match(self._text, self._place)
        if assignment is None:
            self._fail(line, "a line is NAME=VALUE")
        name = assignment["name"]
        if not _NAME.fullmatch(name):
            self._fail(line, "a name begins with a letter or _, and goes on with letters, digits, _ . and -")
        self._place = assignment.end()
        quote = self._text[self._place : self._place + 1]
        value = self._quoted(quote, line) if quote and quote in "'\"" else self._bare()
        if "\0" in value:
            self._fail(line, f"the value of {name} has a NUL, which no environment can hold")
        return Variable(name, value, line)

    def _bare(self) -> str:
        match = _BARE.match(self._text, self._place)
        assert match is not None  # it matches the empty rest of a line too
        self._place = match.end()
        value = match["value"]
        return "" if value.startswith("#") else value

    def _quoted(self, quote: str, line: int) -> str:
        parts: list[str] = []
        self._place += 1
        while True:
            if self._place >= len(self._text):
                self._fail(line, "a quote is opened here, and never closed")
            character = self._text[self._place]
            self._place += 1
            if character == quote:
                break
            if character == "\\" and quote == '"':
                character = self._escape()
            parts.append(character)
        rest = _BLANK.match(self._text, self._place)
        if rest is None:
            self._fail(self._line(self._place), "only a comment may follow the closing quote")
        self._place = rest.end()
        return "".join(parts)

    def _escape(self) -> str:
        letter = self._text[self._place : self._place + 1]
        if letter not in _ESCAPES:
            self._fail(self._line(self._place), 'in double quotes a backslash stands before one of n r t \\ " $ alone')
        self._place += 1
        return _ESCAPES[letter]

    def _line(self, place: int) -> int:
        return self._text.count("\n", 0, place) + 1

    def _fail(self, line: int, problem: str) -> NoReturn:
        raise Failure(f"{self._file}:{line}: {problem}")
