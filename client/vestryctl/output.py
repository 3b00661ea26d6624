"""What is printed: tables and diffs for people, JSON and YAML for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from vestryctl.diffs import pretty
from vestryctl.text import printable
from vestryctl.yaml_documents import dump_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vestryctl.diffs import DiffLine

FORMATS = ("table", "json", "yaml")

_GAP = "  "
_FOLDED_WIDTH = 14  # what a column that may fold keeps as long as others don't have to give way
_SQUEEZED_WIDTH = 6  # what every column keeps, even if the table gets wider than the terminal


class _Console(Console):
    """A console that leaves a broken pipe to the program's edge, like any other error."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


class Output:
    """Standard output or standard error, for one run of the program. Colours and fitted tables appear on a terminal only."""

    def __init__(self, stream: TextIO, *, style: str, color: bool) -> None:
        self._stream = stream
        self._style = style
        self.is_terminal = self._stream.isatty()
        self._console = _Console(
            file=self._stream,
            force_terminal=self.is_terminal,
            color_system="auto" if color else None,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def show(self, value: Any, for_people: Callable[[], None]) -> None:
        """Print `value` when a machine reads; otherwise let `for_people` print what a person wants to know of it."""
        if self._style == "json":
            self._write(json.dumps(value, ensure_ascii=self._is_ascii, indent=2) + "\n")
        elif self._style == "yaml":
            self._write(dump_yaml(value))
        else:
            for_people()

    def show_event(self, value: Any, for_people: Callable[[], None]) -> None:
        """Do as `show` does for one of many values: a line of JSON or a document of YAML each, sent at once."""
        if self._style == "json":
            self._write(json.dumps(value, ensure_ascii=self._is_ascii) + "\n")
        elif self._style == "yaml":
            self._write("---\n" + dump_yaml(value))
        else:
            for_people()
        self._stream.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line, whose line breaks stay."""
        text = printable(text)
        if self.is_terminal:
            self._console.print(Text(text, style), soft_wrap=True)
        else:
            self._write(text + "\n")

    def raw(self, text: str) -> None:
        """Print a text as it is into a pipe or a file; at a terminal without what that would act on."""
        self._write(printable(text) if self.is_terminal else text)

    def document(self, value: Any) -> None:
        """Print a JSON value; a string as it is, so that a shell can use it."""
        if isinstance(value, str):
            self._write((printable(value) if self.is_terminal else value) + "\n")
        elif self.is_terminal:
            self._console.print(JSONHighlighter()(Text(printable(pretty(value)))), soft_wrap=True)
        else:
            self._write(pretty(value) + "\n")

    def diff(self, lines: Iterable[DiffLine], *, indent: str = "") -> None:
        """Print the lines of a diff."""
        for line in lines:
            self.line(indent + line.text, line.mark.value)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, fold: Sequence[str] = ()) -> None:
        """Print a table. On a terminal it is fitted to the width: the columns named in `fold` break lines first."""
        cells = [[_cell(value) for value in row] for row in rows]
        if self.is_terminal:
            self._fitted(columns, cells, fold)
        else:
            self._aligned([[Text(column) for column in columns], *cells])

    def facts(self, facts: Iterable[tuple[str, str | Text]]) -> None:
        """Print names and values, aligned."""
        cells = [(name, _cell(value)) for name, value in facts]
        width = max(cell_len(name) for name, _ in cells)
        for name, value in cells:
            line = Text.assemble((name, "bold"), " " * (width - cell_len(name)) + _GAP, value)
            if self.is_terminal:
                self._console.print(line, soft_wrap=True)
            else:
                self._write(line.plain + "\n")

    def _fitted(self, columns: Sequence[str], cells: list[list[Text]], fold: Sequence[str]) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
        wanted = [
            max(map(cell_len, (title, *(row[place].plain for row in cells)))) for place, title in enumerate(columns)
        ]
        room = self._console.width - len(_GAP) * (len(columns) - 1)
        for title, width in zip(columns, _fit(wanted, room, [title in fold for title in columns]), strict=True):
            table.add_column(title, width=width, overflow="fold")
        for row in cells:
            table.add_row(*row)
        self._console.print(table)

    def _aligned(self, rows: list[list[Text]]) -> None:
        widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            padded = (
                cell.plain + " " * (width - cell_len(cell.plain)) for cell, width in zip(row, widths, strict=True)
            )
            self._write(_GAP.join(padded).rstrip() + "\n")

    @property
    def _is_ascii(self) -> bool:
        """Tell whether JSON must spell what is not ASCII as escapes, because the stream's encoding lacks it."""
        return not self._stream.encoding.lower().startswith("utf")

    def _write(self, text: str) -> None:
        self._stream.write(text)


def warning(words: str) -> Text:
    """Return words that should catch the eye."""
    return Text(words, "yellow")


def _cell(value: str | Text) -> Text:
    """Return a table's cell: one line, without what a terminal would act on."""
    if isinstance(value, Text):
        return value
    return Text(printable(value).replace("\n", "\\n").replace("\t", "\\t"))


def _fit(wanted: Sequence[int], room: int, may_fold: Sequence[bool]) -> list[int]:
    """Return the columns' widths: the widest give way first, those that may fold before the others.

    Rich's own fitting lets a column that may fold vanish before it touches the others.
    """
    widths = list(wanted)
    for floor, may_shrink in ((_FOLDED_WIDTH, may_fold), (_SQUEEZED_WIDTH, [True] * len(widths))):
        while sum(widths) > room:
            width, place = max(
                ((width, place) for place, width in enumerate(widths) if may_shrink[place]), default=(0, 0)
            )
            if width <= floor:
                break
            widths[place] -= 1
    return widths
