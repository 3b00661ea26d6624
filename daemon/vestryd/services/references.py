"""References to secrets in an answer: the values take their place, for a caller who may access them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Protocol

from vestryd.domain.errors import (
    AuditUnavailable,
    InvalidField,
    LimitExceeded,
    PermissionDenied,
    Sealed,
    SecretNotFound,
    SecretUnusable,
    VestryError,
)
from vestryd.domain.identity import Caller
from vestryd.domain.jsonvalue import MAX_DOCUMENT_BYTES, Json
from vestryd.domain.references import KEY, WITHHELD, Reference, find, replace
from vestryd.domain.secrets.values import Accessed
from vestryd.services.call import Call

MAX_REFERENCES = 100

# Error -> why a value is withheld. A caller who may not access a secret isn't told whether it is there.
_REASONS: Mapping[type[VestryError], str] = {
    PermissionDenied: "you may not access it",
    SecretNotFound: "there is no such secret",
    Sealed: "the secrets are sealed",
    AuditUnavailable: "the access can't be recorded in the audit log now",
}


class Resolver(Protocol):
    """What gives the values of secrets: it checks the caller, and records the access."""

    def resolve(self, caller: Caller, path: str, *, call_id: str = "") -> Awaitable[Accessed]:
        """Return the current value of the secret at `namespaces/<namespace>/secrets/<name>`."""


async def resolved(value: Json, secrets: Resolver, call: Call) -> Json:
    """Return `value` with the values of secrets in the place of references; one that can't be had stays, and says why.

    Each secret is accessed once, however often it is referred to. Raises InvalidField for too many references,
    LimitExceeded when their values are too large together.
    """
    told = [str(found[KEY]) for _, found in find(value)]
    if len(told) > MAX_REFERENCES:
        problem = f"{len(told)} references to secrets are in this part: ask for parts with at most {MAX_REFERENCES}"
        raise InvalidField("pointer", problem)
    distinct = dict.fromkeys(told)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_resolve(path, secrets, call)) for path in distinct]
    found = dict(zip(distinct, (task.result() for task in tasks), strict=True))
    size = sum(len(one) for path in told if isinstance(one := found[path], str))
    if size > MAX_DOCUMENT_BYTES:
        raise LimitExceeded("the length of the secrets' values in this part", MAX_DOCUMENT_BYTES, size)
    return replace(value, lambda reference: found[str(reference[KEY])])


async def _resolve(path: str, secrets: Resolver, call: Call) -> Json:
    """Return what takes the place of a reference: the secret's value, or the reference and why that is withheld."""
    try:
        Reference.parse(path)
        return (await secrets.resolve(call.caller, path, call_id=call.request_id)).value.decode()
    except UnicodeDecodeError:
        return _withheld(path, "its value is not text")
    except InvalidField:  # in a document from before references were checked
        return _withheld(path, "this is not a reference to a secret")
    except SecretUnusable as error:
        return _withheld(path, f"it can't be had: {error.problem}")
    except VestryError as error:
        return _withheld(path, _REASONS.get(type(error), "it can't be read now: ask the daemon's administrator"))


def _withheld(path: str, reason: str) -> Json:
    return {KEY: path, WITHHELD: reason}
