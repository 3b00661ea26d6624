from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from vestryd.host.logs import MAX_ITEMS, MAX_TRACEBACK_CHARACTERS, MAX_VALUE_CHARACTERS, configure


@pytest.fixture(autouse=True)
def _put_logging_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def configured(*, level: str = "info", form: str = "json", stream: TextIO | None = None) -> io.StringIO:
    """Set the log up and return where it goes."""
    output = stream if isinstance(stream, io.StringIO) else io.StringIO()
    configure(level=level, format=form, stream=output, environ={})
    return output


def fail(_secret: str, message: str) -> None:
    """Raise from a frame that has a secret among its variables."""
    raise ValueError(message)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    """Return the log's lines, which must be a JSON object each."""
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_an_event_is_a_json_line() -> None:
    """An event with its facts is an object on a line, with its level, the time in UTC and the context's facts."""
    output = configured()
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().warning("config.rejected", namespace="default", version=7)
    (line,) = lines(output)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(timestamp) < timedelta(minutes=1)
    expected = {
        "event": "config.rejected",
        "level": "warning",
        "namespace": "default",
        "version": 7,
        "request_id": "r1",
    }
    assert line == expected


def test_standard_logging_takes_the_same_road() -> None:
    """What libraries log through the standard library, and warnings, are the same lines, with the logger's name."""
    output = configured()
    logging.getLogger("asyncio").warning("slow callback took %s s", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    slow, old = lines(output)
    assert (slow["event"], slow["level"], slow["logger"]) == ("slow callback took 3 s", "warning", "asyncio")
    assert "DeprecationWarning: old" in old["event"]


def test_what_is_below_the_level_is_dropped() -> None:
    """Events below the level are dropped, whoever logs them."""
    output = configured(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in lines(output)] == ["loud"]


def test_an_exception_is_one_field() -> None:
    """A traceback is one field of the line, without the variables' values, and its end is what is kept."""
    output = configured()
    try:
        fail("hunter2", "x" * MAX_TRACEBACK_CHARACTERS)
    except ValueError:
        structlog.get_logger().exception("task.failed")
        logging.getLogger("x").exception("failed")
    for line in lines(output):
        assert len(line["exception"]) == MAX_TRACEBACK_CHARACTERS
        assert line["exception"].endswith("x")
    assert "hunter2" not in output.getvalue()


def test_values_are_short_and_harmless() -> None:
    """Long values are cut, bytes give their length and unknown objects their type: none of them can spill a payload."""

    class Message:
        def __str__(self) -> str:
            return "password: hunter2"

        __repr__ = __str__

    output = configured()
    structlog.get_logger().info(
        "x",
        long="y" * (MAX_VALUE_CHARACTERS + 5),
        payload=b"hunter2",
        message=Message(),
        path=Path("/etc/vestry"),
        error=OSError("disk"),
        items=list(range(MAX_ITEMS + 5)),
        nested={"a": {"payload": bytearray(b"hunter2"), "deep": {"er": {"and": {"deeper": 1}}}}},
    )
    (line,) = lines(output)
    assert line["long"] == "y" * MAX_VALUE_CHARACTERS + "… and 5 more characters"
    assert line["payload"] == "<7 bytes>"
    assert line["message"] == "<Message>"
    assert line["path"] == "/etc/vestry"
    assert line["error"] == "disk"
    assert line["items"] == list(range(MAX_ITEMS))
    assert line["nested"] == {"a": {"payload": "<7 bytes>", "deep": {"er": {"and": "<dict>"}}}}
    assert "hunter2" not in output.getvalue()


@pytest.mark.parametrize(
    ("form", "stream", "is_json", "is_coloured"),
    [
        ("auto", io.StringIO(), True, False),
        ("auto", Terminal(), False, True),
        ("json", Terminal(), True, False),
        ("console", io.StringIO(), False, False),
    ],
)
def test_format_follows_the_stream(form: str, stream: io.StringIO, is_json: bool, is_coloured: bool) -> None:  # noqa: FBT001 - facts of a row
    """`auto` is for people on a terminal and for machines elsewhere; colour is on a terminal only."""
    configured(form=form, stream=stream)
    structlog.get_logger().info("daemon.ready", pid=1)
    text = stream.getvalue()
    assert text.startswith("{") is is_json
    assert ("\x1b[" in text) is is_coloured
    assert "daemon.ready" in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_moves_the_cursor_or_begins_a_line(form: str) -> None:
    """What callers say stays in its place, whoever reads the log at a terminal."""
    stream = configured(form=form)
    structlog.get_logger().info("document.applied", message="\x1b[2Jx\r\n<3>fake \u202e", nested=["\x1b[2J"])
    logging.getLogger("grpc").warning("peer said \x1b[2J\nfake")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_journal_gets_priorities(form: str, tmp_path: Path) -> None:
    """When the stream is the journal's, each line begins with its priority, also each line of a traceback."""
    path = tmp_path / "journal"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        configure(
            level="debug", format=form, stream=stream, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        )
        log = structlog.get_logger()
        log.debug("d")
        log.info("i")
        log.warning("w")
        logging.getLogger("x").critical("c")
        try:
            fail("", "v")
        except ValueError:
            log.exception("e")
    text = path.read_text().splitlines()
    assert [line[:3] for line in text[:4]] == ["<7>", "<6>", "<4>", "<2>"]
    assert {line[:3] for line in text[4:]} == {"<3>"}


def test_another_stream_gets_no_priorities(tmp_path: Path) -> None:
    """A daemon of systemd's whose stderr goes elsewhere writes plain lines."""
    with (tmp_path / "file").open("w") as stream:
        configure(level="info", format="json", stream=stream, environ={"JOURNAL_STREAM": "1:2"})
        structlog.get_logger().info("i")
    assert (tmp_path / "file").read_text().startswith("{")


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    """A full disk or a reader that went away costs log lines and raises nothing."""
    with Path("/dev/full").open("w") as full:
        configure(level="info", format="json", stream=full, environ={})
        structlog.get_logger().info("lost")
        logging.getLogger("x").warning("lost")
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        with Path(os.devnull).open("w") as sink:
            os.dup2(sink.fileno(), full.fileno())  # so that it can be closed
