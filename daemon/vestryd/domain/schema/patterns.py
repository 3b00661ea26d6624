"""The regular expressions of a schema: only those that run in time linear in the text."""

from __future__ import annotations

import re

import jsonschema_rs

from vestryd.domain.faults import shown

LINEAR_TIME = jsonschema_rs.RegexOptions()  # the engine without look-around and back-references

_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\\k<")


def matcher(pattern: str) -> jsonschema_rs.Validator:
    """Return what tells, by `is_valid`, whether `pattern` matches a text as it does in a schema.

    Raises ValueError with a sentence about the pattern when it can't be used.
    """
    try:
        return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=LINEAR_TIME)
    except jsonschema_rs.ValidationError:
        raise ValueError(pattern_problem(pattern)) from None


def pattern_problem(pattern: str) -> str:
    """Return why `pattern`, which the engine refused, can't be used."""
    if _LOOK_AROUND.search(pattern):
        problem = "uses look-around"
    elif _BACK_REFERENCE.search(pattern):
        problem = "uses a back-reference"
    else:
        problem = "is not a regular expression, or too large a one"
    return f"the pattern {shown(pattern)} {problem}; only patterns that run in linear time are allowed"
