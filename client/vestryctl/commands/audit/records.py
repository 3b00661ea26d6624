"""Audit records in the words that people read."""

from __future__ import annotations

from rich.text import Text

from vestry.v1 import audit_pb2
from vestryctl import text
from vestryctl.diffs import compact
from vestryctl.wire import enum_name, json_value

OUTCOMES = ("allowed", "denied", "failed")
_FOR_MACHINES = {"checksum", "committed", "incarnation"}


def outcome_number(name: str | None) -> audit_pb2.AuditOutcome.ValueType:
    """Return the proto's number of an outcome; that of the unset one for None."""
    return audit_pb2.AuditOutcome.Value(f"AUDIT_OUTCOME_{(name or 'unspecified').upper()}")


def row(record: audit_pb2.AuditRecord) -> tuple[str | Text, ...]:
    """Return a record's row: sequence, time, actor, action, resource, outcome, facts."""
    outcome = enum_name(audit_pb2.AuditOutcome.DESCRIPTOR, record.outcome) or text.NOTHING
    return (
        str(record.sequence),
        text.local_time(record.record_time),
        record.actor,
        record.action,
        record.resource,
        outcome if outcome == "allowed" else Text(outcome, "bold red"),
        facts(record),
    )


def line(record: audit_pb2.AuditRecord) -> str:
    """Return a record as one line, for those that come one by one."""
    return "  ".join(str(part) for part in row(record))


def facts(record: audit_pb2.AuditRecord) -> str:
    """Return what else is known of a record as `name=value`, and the request that was behind it; but for what is long."""
    found = {**(json_value(record.facts) or {}), **({"request": record.request_id} if record.request_id else {})}
    told = (
        f"{name}={value if isinstance(value, str) else compact(value)}"
        for name, value in found.items()
        if name not in _FOR_MACHINES
    )
    return text.in_one_line(" ".join(told)) or text.NOTHING
