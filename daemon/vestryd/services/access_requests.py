"""What questions about access hold: from fields to the domain's terms, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address

from vestry.v1 import access_pb2 as pb
from vestryd.domain.errors import InvalidField
from vestryd.domain.faults import shown
from vestryd.domain.identity import Address, Caller, Via
from vestryd.domain.policy.findings import Findings, name_problem
from vestryd.domain.policy.resources import MAX_PATTERN, can_meet
from vestryd.domain.policy.subjects import identity_problem


def action(field: str, named: str, known: Collection[str]) -> str:
    """Return an action that there is. Raises InvalidField."""
    if named not in known:
        hint = Findings().suggestion(named, known) or ": name one as 'noun.verb', such as config.read"
        raise InvalidField(field, f"there is no action {shown(named)}{hint}")
    return named


def resource(field: str, named: str, action: str, shapes: Collection[str]) -> str:
    """Return a resource of one of the shapes that an action is asked of. Raises InvalidField."""
    if not named:
        raise InvalidField(field, "name a resource, such as namespaces/default/config")
    if len(named) > MAX_PATTERN:
        raise InvalidField(field, f"it has {len(named)} characters: no resource has more than {MAX_PATTERN}")
    if not any(can_meet(named, shape) for shape in shapes):
        raise InvalidField(field, f"{action} is never asked of {shown(named)}, but of {', '.join(sorted(shapes))}")
    return named


def subject(request: pb.ExplainAccessRequest, asking: Caller) -> Caller:
    """Return whom a request is about: the caller that asks, or one as the policy would know it. Raises InvalidField."""
    address = _address(request.address)
    if not request.identity:
        if request.groups:
            raise InvalidField(
                "groups", "the caller's own groups are known: name an identity to ask about somebody else"
            )
        return replace(asking, address=address) if address else asking
    problem = identity_problem(request.identity)
    if problem:
        raise InvalidField("identity", f"{shown(request.identity)} names nobody: {problem}")
    return Caller(
        name=request.identity,
        via=Via.TOKEN if address else Via.SOCKET,
        identities=frozenset({request.identity}),
        groups=_groups(request.groups),
        address=address,
    )


def _groups(named: Iterable[str]) -> frozenset[str]:
    for name in named:
        problem = name_problem(name)
        if problem:
            raise InvalidField("groups", f"{shown(name)} names no group: {problem}")
    return frozenset(named)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text) if text else None
    except ValueError as error:
        raise InvalidField("address", f"{shown(text)} is not an IP address: write one such as 10.0.0.7") from error
