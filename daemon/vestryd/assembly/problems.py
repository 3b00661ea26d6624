"""What an administrator should look at, wherever in the house it is."""

from __future__ import annotations

from collections.abc import Iterator

from vestryd.assembly.core import Core
from vestryd.domain.errors import in_short
from vestryd.services.admin import Problem


def problems(core: Core, *others: tuple[str, str]) -> Iterator[Problem]:
    """Yield what an administrator should look at: what the core knows of, and `others`, as (component, message)."""
    start = core.auditor.start_time  # of what has no beginning of its own
    for ingestion in core.ingestions:
        for name, rejection in ingestion.rejections().items():
            message = f"its files are rejected: {in_short(rejection.violations)}"
            yield Problem(f"{ingestion.kind}/{name}", message, rejection.time)
        for path, problem in ingestion.source_problems:
            yield Problem(ingestion.kind, f"{path}: {problem}", ingestion.problems_since)
    for problem in core.access.problems():
        yield Problem("access", problem, start)
    for problem in core.auditor.problems():
        yield Problem("audit", problem, core.auditor.troubled_since or start)
    for problem in core.secrets.problems():
        yield Problem("secrets", problem, start)
    for component, message in others:
        yield Problem(component, message, start)
