"""What is known of a secret beside its values, as options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from vestry.durations import parse_duration
from vestry.v1 import secrets_pb2
from vestryctl.options import Span, Utf8


class Moment(click.ParamType[datetime]):
    """A moment: a time as in 2027-01-31T12:00:00Z, or a span from now."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment; a time without a zone is this machine's."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) + parse_duration(value)
        except (ValueError, OverflowError):
            pass
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time (2027-01-31T12:00:00Z) nor a span from now (30d).", param, ctx)


class Tag(click.ParamType[tuple[str, str]]):
    """A name and a text, as in owner=alice."""

    name = "tag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both."""
        if isinstance(value, tuple):
            return value
        name, equals, text = Utf8().convert(value, param, ctx).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no tag: write NAME=TEXT.", param, ctx)
        return name, text


_OPTIONS = (
    click.option("--description", type=Utf8(), metavar="TEXT", help="What it is for."),
    click.option(
        "--tag", "tags", type=Tag(), multiple=True, metavar="NAME=TEXT", help="A tag; may be given several times."
    ),
    click.option("--rotate-every", type=Span(), metavar="SPAN", help="How long a value is good for, such as 30d."),
    click.option("--grace", type=Span(), metavar="SPAN", help="How long the previous value works after a rotation."),
    click.option(
        "--expires", type=Moment(), metavar="WHEN", help="When its value is no longer given: a time, or a span."
    ),
)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `apply_settings` understands."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_of(secret: secrets_pb2.Secret) -> secrets_pb2.SecretSettings:
    """Return what a secret is set to."""
    return secrets_pb2.SecretSettings(
        description=secret.description,
        tags=secret.tags,
        rotation=secret.rotation if secret.HasField("rotation") else None,
        expire_time=secret.expire_time if secret.HasField("expire_time") else None,
    )


def apply_settings(
    settings: secrets_pb2.SecretSettings,
    *,
    description: str | None,
    tags: tuple[tuple[str, str], ...],
    rotate_every: timedelta | None,
    grace: timedelta | None,
    expires: datetime | None,
) -> list[str]:
    """Change `settings` as the options say, and return the names of the fields that they speak of."""
    touched: list[str] = []
    if description is not None:
        settings.description = description
        touched.append("description")
    if tags:
        settings.tags.clear()
        settings.tags.update(dict(tags))
        touched.append("tags")
    if rotate_every is not None:
        settings.rotation.period.FromTimedelta(rotate_every)
    if grace is not None:
        settings.rotation.grace.FromTimedelta(grace)
    if rotate_every is not None or grace is not None:
        touched.append("rotation")
    if expires is not None:
        settings.expire_time.FromDatetime(expires)
        touched.append("expire_time")
    return touched
