"""The shape of a policy document. What its texts must say is checked as it is compiled."""

from __future__ import annotations

from vestryd.domain.jsonvalue import Json
from vestryd.domain.schema.schema import Schema

_TEXTS: Json = {"type": "array", "items": {"type": "string"}}
_SOME_TEXTS: Json = {**_TEXTS, "minItems": 1}


def _object(properties: Json, *required: str) -> Json:
    described = {**properties, "description": {"type": "string"}}
    return {"type": "object", "properties": described, "required": list(required), "additionalProperties": False}


def _map(member: Json) -> Json:
    return {"type": "object", "additionalProperties": member}


_HOURS: Json = {
    "type": "object",
    "properties": {
        "days": {
            "type": "array",
            "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
            "minItems": 1,
            "uniqueItems": True,
        },
        "from": {"type": "string"},
        "to": {"type": "string"},
        "time_zone": {"type": "string"},
    },
    "required": ["time_zone"],
    "additionalProperties": False,
}

_CONDITIONS: Json = {
    "type": "object",
    "properties": {
        "not_before": {"type": "string"},
        "expires": {"type": "string"},
        "networks": _SOME_TEXTS,
        "hours": _HOURS,
    },
    "additionalProperties": False,
}

POLICY_SCHEMA = Schema(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Vestry access policy",
        "type": "object",
        "properties": {
            "users": _map(_object({"identities": _TEXTS, "disabled": {"type": "boolean"}})),
            "groups": _map(_object({"members": _TEXTS}, "members")),
            "roles": _map(_object({"actions": _SOME_TEXTS}, "actions")),
            "rules": _map(
                _object(
                    {
                        "effect": {"enum": ["allow", "deny"]},
                        "subjects": _SOME_TEXTS,
                        "actions": _SOME_TEXTS,
                        "roles": _SOME_TEXTS,
                        "resources": _SOME_TEXTS,
                        "conditions": _CONDITIONS,
                    },
                    "subjects",
                    "resources",
                )
            ),
        },
        "additionalProperties": False,
    }
)
