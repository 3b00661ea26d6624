"""The example of docs/access.md is what the daemon would say."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vestry.v1 import access_pb2 as pb
from vestryd.domain.identity import anonymous
from vestryd.domain.policy.policy import Policy, compile_policy
from vestryd.services.access_requests import subject
from vestryd.services.methods import actions, table

GUIDE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
MONDAY_EVENING = datetime(2026, 1, 5, 20, tzinfo=UTC)
SHOWN = re.findall(r"^\$ vestryctl access explain (.+)\n(.+)$", GUIDE, re.MULTILINE)
NOUNS = re.findall(r"^\| (?:(\w+) )?\| ([a-z, ]+) \| `", GUIDE, re.MULTILINE)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The policy that the guide shows."""
    (document,) = re.findall(r"^```json\n(.+?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return compile_policy(json.loads(document), actions=actions(table().values()))


@pytest.mark.parametrize(("command", "answer"), SHOWN)
def test_each_explanation_is_real(policy: Policy, command: str, answer: str) -> None:
    """What stands below a command is what the daemon answers."""
    action, resource, *options = shlex.split(command)
    told = dict(zip(options[::2], options[1::2], strict=True))
    groups = [told["--group"]] if "--group" in told else []
    whom = subject(pb.ExplainAccessRequest(identity=told["--as"], groups=groups), anonymous())
    assert policy.explain(whom, action, resource, MONDAY_EVENING).sentence == answer


def test_every_action_is_in_the_table() -> None:
    """And none that there isn't, but for those that need no rule."""
    listed, noun = set(), ""
    for first, verbs in NOUNS:
        noun = first or noun
        listed |= {f"{noun}.{verb}" for verb in verbs.split(", ")}
    assert listed == set(actions(one for one in table().values() if not one.is_for_any_caller))
