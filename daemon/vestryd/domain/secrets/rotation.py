"""How a secret is rotated: its policy, and how it stands to that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from vestryd.domain.errors import InvalidField
from vestryd.domain.jsonvalue import Json
from vestryd.domain.secrets.generators import Generator, check_generator, decode_generator, encode_generator

MIN_PERIOD, MAX_PERIOD = timedelta(minutes=1), timedelta(days=3653)  # ten years
MAX_GRACE = timedelta(days=366)
OVERDUE_PART = 10  # of its period: for so long may a rotation be due before it is overdue

NO_GRACE = timedelta()


class RotationState(StrEnum):
    """How a secret stands to its rotation. `none`: it has no period, or is deleted."""

    NONE = "none"
    SCHEDULED = "scheduled"
    DUE = "due"
    OVERDUE = "overdue"


class RotationStep(StrEnum):
    """How far a rotation goes.

    all: the new value is current at once. pending: it waits. promote: what waits becomes current. abandon: what waits is
    destroyed.
    """

    ALL = "all"
    PENDING = "pending"
    PROMOTE = "promote"
    ABANDON = "abandon"


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """How a secret is rotated.

    `period` is how long a value is good for (None: for ever), `grace` how long the previous one still works. With a period
    and a `generator`, the daemon rotates by itself.
    """

    period: timedelta | None = None
    grace: timedelta = NO_GRACE
    generator: Generator | None = None

    @property
    def is_automatic(self) -> bool:
        """Whether the daemon rotates by itself."""
        return self.period is not None and self.generator is not None


def check_policy(policy: RotationPolicy, where: str = "rotation") -> None:
    """Raise InvalidField, naming a field below `where`, when the policy can't be followed."""
    if policy.period is not None and not MIN_PERIOD <= policy.period <= MAX_PERIOD:
        raise InvalidField(f"{where}.period", "a minute to ten years is allowed")
    check_grace(policy.grace, f"{where}.grace")
    if policy.generator is not None:
        check_generator(policy.generator, f"{where}.generator")


def check_grace(grace: timedelta, where: str = "grace") -> None:
    """Raise InvalidField when a previous version can't work for so long."""
    if not NO_GRACE <= grace <= MAX_GRACE:
        raise InvalidField(where, "up to a year is allowed")


def overdue_time(due: datetime, period: timedelta) -> datetime:
    """Return when a rotation that falls due at `due` is overdue."""
    return due + period / OVERDUE_PART


def encode_policy(policy: RotationPolicy | None) -> Json:
    """Return the policy as JSON."""
    if policy is None:
        return None
    return {
        "generator": None if policy.generator is None else encode_generator(policy.generator),
        "grace_microseconds": policy.grace // timedelta(microseconds=1),
        "period_microseconds": None if policy.period is None else policy.period // timedelta(microseconds=1),
    }


def decode_policy(encoded: Json) -> RotationPolicy | None:
    """Return the policy that `encode_policy` wrote."""
    if encoded is None:
        return None
    period, generator = encoded["period_microseconds"], encoded["generator"]
    return RotationPolicy(
        period=None if period is None else timedelta(microseconds=period),
        grace=timedelta(microseconds=encoded["grace_microseconds"]),
        generator=None if generator is None else decode_generator(generator),
    )
