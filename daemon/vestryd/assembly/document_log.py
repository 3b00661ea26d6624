"""What the daemon's log says of documents. Violations come without what the schema marks as secret."""

from __future__ import annotations

import structlog

from vestryd.domain.documents import Document
from vestryd.domain.errors import Violation
from vestryd.domain.ingest import Rejection

log = structlog.get_logger("vestryd")


def log_applied(document: Document) -> None:
    """Log a version that is in force from now on."""
    version = document.version
    facts = {"message": version.message, "rollback_of": version.rollback_of}
    log.info(
        "document.applied",
        kind=document.kind,
        name=document.name,
        version=version.number,
        cause=version.cause.name.lower(),
        author=version.author,
        revision=document.revision,
        **{name: fact for name, fact in facts.items() if fact},
    )


def log_rejected(kind: str, name: str, document: Document | None, rejection: Rejection) -> None:
    """Log why files are rejected; `document` is what stays in force."""
    log.warning(
        "document.rejected",
        kind=kind,
        name=name,
        version_in_force=document.version.number if document else 0,
        violations=[_told(one) for one in rejection.violations],
    )


def _told(one: Violation) -> dict[str, object]:
    facts = {"file": one.file, "line": one.line, "pointer": one.pointer, "rule": one.rule}
    return {**{name: fact for name, fact in facts.items() if fact}, "message": one.message}
