from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from vestry.v1.errors_pb2 import ErrorReason
from vestryd.domain import errors
from vestryd.domain.errors import DocumentInvalid, InvalidField, PointerNotFound, StoreUnavailable, Violation
from vestryd.services.status import TABLE, DeadlineExceeded, Failure, InternalError, failure

SOURCE = Path(__file__).parents[2] / "proto" / "vestry" / "v1" / "errors.proto"
VALUE = re.compile(r"((?: *//.*\n)+) *ERROR_REASON_(\w+) = (\d+);")
METADATA = re.compile(r"Metadata: (.*?)\.(?: |$)")

# What is told in other words before it reaches a caller, or ends the daemon before there are any.
NEVER_ON_THE_WIRE = {
    errors.AddressUnusable,
    errors.AuditUnusable,
    errors.Compacted,
    errors.Conflict,
    errors.SettingsInvalid,
    errors.SourceInvalid,
    errors.StoreUnusable,
}
# gRPC allows 8 KiB of trailing metadata before peers refuse it; the request's id and gRPC's own headers take a part.
ROOM = 8192 - 512

SAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 7,
    "float": 2.5,
    "bool": True,
    "tuple[Violation, ...]": (Violation("/port", "type", "it is not an integer"),),
}


def sample(kind: type[errors.VestryError]) -> errors.VestryError:
    """Return an error of a class, with something in each field."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type] # every error is a dataclass
    return kind(*(SAMPLES[str(field.type)] for field in fields))


def documented() -> dict[str, tuple[str, set[str]]]:
    """Return reason -> its code and the names of its metadata, as the comments in errors.proto have them."""
    found = {}
    for comment, name, number in VALUE.findall(SOURCE.read_text()):
        if number == "0":
            continue
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        metadata = METADATA.search(text)
        assert metadata, f"{name} doesn't document its metadata"
        found[name] = (text.partition(".")[0], set(re.findall(r"`(\w+)`", metadata[1])))
    return found


def unpacked(made: Failure) -> tuple[Status, ErrorInfo, BadRequest | None]:
    """Return the status of a failure, and its details."""
    status = Status.FromString(made.details)
    info, blame = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    is_blamed = len(status.details) > 1 and status.details[1].Unpack(blame)
    return status, info, blame if is_blamed else None


def size_in_metadata(made: Failure) -> int:
    """Return what a failure takes of trailing metadata: the message percent-encoded, the details in base64."""
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != ord("%") else 3 for byte in made.message.encode())
    return message + (len(made.details) + 2) // 3 * 4


def test_every_error_that_can_reach_the_wire_is_in_the_table() -> None:
    """And those that can't are known by name."""
    every = {
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.VestryError) and one is not errors.VestryError
    }
    assert {one for one in TABLE if one.__module__ == errors.__name__} == every - NEVER_ON_THE_WIRE


def test_every_reason_has_a_class() -> None:
    """But UNSPECIFIED, which nobody sends."""
    assert {number for _, number in TABLE.values()} == set(ErrorReason.values()) - {0}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_errors_go_out_as_documented(kind: type[errors.VestryError]) -> None:
    """The code, and the metadata's keys, are those that errors.proto gives for the reason."""
    made = failure(sample(kind))
    status, info, _ = unpacked(made)
    code, metadata = documented()[made.reason]
    assert (Code.Name(made.code), set(info.metadata)) == (code, metadata)
    assert (info.reason, info.domain) == (made.reason, "vestry")
    assert (status.code, status.message) == (made.code, made.message)


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_there_is_one_error_info(kind: type[errors.VestryError]) -> None:
    """A caller need not search."""
    status, _, _ = unpacked(failure(sample(kind)))
    kinds = [one.TypeName() for one in status.details]
    assert kinds in (["google.rpc.ErrorInfo"], ["google.rpc.ErrorInfo", "google.rpc.BadRequest"])


def test_a_bad_field_is_blamed() -> None:
    """A form can show the message beside the field."""
    _, info, blame = unpacked(failure(InvalidField("page_size", "it can't be negative")))
    assert info.metadata["field"] == "page_size"
    assert blame is not None
    assert [(one.field, one.description) for one in blame.field_violations] == [("page_size", "it can't be negative")]


def test_a_document_s_violations_are_blamed() -> None:
    """The field is the pointer, the reason the rule."""
    violations = (Violation("/a", "type", "it is no number"), Violation("/b", "maximum", "it is too large"))
    _, info, blame = unpacked(failure(DocumentInvalid("config", "default", violations)))
    assert info.metadata["violations"] == "2"
    assert blame is not None
    assert [(one.field, one.reason, one.description) for one in blame.field_violations] == [
        ("/a", "type", "it is no number"),
        ("/b", "maximum", "it is too large"),
    ]


@pytest.mark.parametrize("letter", ["x", "é", "%", "\n", "日", "🔒"])
def test_details_stay_small(letter: str) -> None:
    """10 000 violations of long text still fit trailing metadata, in every script, and the first ones are there."""
    violations = tuple(Violation(f"/{number}/{letter * 50}", "type", letter * 3000) for number in range(10_000))
    made = failure(DocumentInvalid("config", "default", violations))
    _, info, blame = unpacked(made)
    assert size_in_metadata(made) <= ROOM
    assert info.metadata["violations"] == "10000"
    assert blame is not None
    assert [one.field for one in blame.field_violations][:1] == [violations[0].pointer]


@given(st.text(max_size=4000))
def test_any_text_fits(text: str) -> None:
    """Whatever a caller puts into a pointer or a field, or a disk into its error."""
    for error in (PointerNotFound("config", "x", text), InvalidField("pointer", text), StoreUnavailable(text)):
        assert size_in_metadata(failure(error)) <= ROOM


def test_what_is_ours_alone_is_told_too() -> None:
    """A deadline and a defect have no class in the domain."""
    assert failure(DeadlineExceeded(30.0)).reason == "DEADLINE_EXCEEDED"
    assert failure(InternalError("id-1")).reason == "INTERNAL"
