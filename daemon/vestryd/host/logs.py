"""The daemon's log: an event and its facts a line, from structlog and from the standard library alike."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any, TextIO, cast

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor, WrappedLogger

MAX_VALUE_CHARACTERS = 2_000  # a log line is not the place for a document
MAX_TRACEBACK_CHARACTERS = 16_000
MAX_ITEMS = 50  # of a list or a map
MAX_DEPTH = 4

FIRST = ("timestamp", "level", "event")  # what a person looks for first in a line

PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # level -> priority, after sd-daemon(3)

ENCODER = json.JSONEncoder()

Render = Callable[[WrappedLogger, str, EventDict], str]


def configure(
    *,
    level: str,
    format: str,  # noqa: A002 - the setting's name
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send every event of `level` and above to `stream`, by default stderr. A second call replaces the first.

    `level` is `debug`, `info`, `warning` or `error`. `format` is `json` for an object a line, `console` for people, or
    `auto`: `console` on a terminal, else `json`. systemd's journal gets each line with its priority. A log that can't
    be written stops nobody.
    """
    stream = stream or sys.stderr
    output = cast("TextIO", _Unfailing(stream))
    threshold = logging.getLevelNamesMapping()[level.upper()]
    is_console = format == "console" or (format == "auto" and stream.isatty())
    render = _console(colors=stream.isatty()) if is_console else _render_json
    if _is_journal(stream, environ):
        render = _with_priority(render)
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        bound_values,
    ]
    structlog.configure(
        processors=[*common, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(output),
    )
    _configure_standard_logging(threshold, output, common, render)


def _configure_standard_logging(threshold: int, output: TextIO, common: list[Processor], render: Render) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)


def bound_values(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Keep every value short, and of a kind that is known to be harmless; put what matters first.

    Bytes and unknown objects give their size or type alone: `str()` of a protobuf message prints the secrets in it.
    """
    exception = event_dict.pop("exception", None)
    first = {name: event_dict.pop(name) for name in FIRST if name in event_dict}
    bounded = {
        name: value if _is_plain(value) else _bounded(value, MAX_DEPTH)
        for name, value in (*first.items(), *event_dict.items())
    }
    if isinstance(exception, str):
        bounded["exception"] = exception[-MAX_TRACEBACK_CHARACTERS:]  # the end of a traceback is what tells
    return bounded


def _is_plain(value: Any) -> bool:
    """Tell whether a value can stay as it is: most are, and a line is written for each request."""
    kind = type(value)
    return len(value) <= MAX_VALUE_CHARACTERS if kind is str else kind in {int, float, bool, type(None)}


def _bounded(value: Any, depth: int) -> Any:
    match value:
        case str() | BaseException() | PurePath() | datetime():
            return _cut(str(value))
        case None | bool() | int() | float():
            return value
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case Mapping() if depth:
            return {_cut(str(key)): _bounded(item, depth - 1) for key, item in list(value.items())[:MAX_ITEMS]}
        case list() | tuple() | set() | frozenset() if depth:
            return [_bounded(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
        case _:
            return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    beyond = len(text) - MAX_VALUE_CHARACTERS
    return text if beyond <= 0 else f"{text[:MAX_VALUE_CHARACTERS]}… and {beyond} more characters"


def _render_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    return ENCODER.encode(event_dict)  # one encoder for all lines: json.dumps would build one for each


def _console(*, colors: bool) -> Render:
    # structlog's own choice would print the local variables of each frame, secrets included.
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        legible = {
            name: _legible(value, keep="\n" if name == "exception" else "") if isinstance(value, str) else value
            for name, value in event_dict.items()
        }
        return renderer(logger, method, legible)

    return render


def _legible(text: str, *, keep: str = "") -> str:
    """Return a text with escapes in the place of what would move a terminal's cursor, paint, or begin another line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream is the one that systemd connected to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _with_priority(render: Render) -> Render:
    def render_with_priority(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        prefix = f"<{PRIORITIES.get(event_dict.get('level', ''), PRIORITIES['info'])}>"
        return "\n".join(prefix + line for line in render(logger, method, event_dict).split("\n"))

    return render_with_priority


class _Unfailing:
    """A stream whose writes are lost rather than raise, when its disk is full or its reader gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()
