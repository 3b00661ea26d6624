"""Environment variables and what they are to hold, as a command line names them."""

from __future__ import annotations

import re
from typing import Any

import click

from vestry.paths import Keys
from vestryctl.options import Path, Utf8

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_VARIABLE = re.compile(r"[^A-Za-z0-9_]")


class SecretVariable(click.ParamType[tuple[str, str, str]]):
    """A variable and the secret that it is to hold: ENV=NAME, ENV=NAME@NAMESPACE, or without ENV=."""

    name = "secret"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, str]:
        """Return the variable, the secret and its namespace, which is empty when none is given."""
        if isinstance(value, tuple):
            return value
        left, equals, right = Utf8().convert(value, param, ctx).partition("=")
        name, _, namespace = (right if equals else left).partition("@")
        variable = left if equals else _NOT_IN_VARIABLE.sub("_", name).upper()
        if not name or not _VARIABLE.fullmatch(variable):
            self.fail(f"{value!r} is no secret for a variable: write ENV=NAME or ENV=NAME@NAMESPACE.", param, ctx)
        return variable, name, namespace


class ConfigVariable(click.ParamType[tuple[str, Keys]]):
    """A variable and the path of the value that it is to hold: ENV=PATH."""

    name = "config"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Keys]:
        """Return the variable and the path's keys."""
        if isinstance(value, tuple):
            return value
        variable, equals, path = Utf8().convert(value, param, ctx).partition("=")
        if not equals or not _VARIABLE.fullmatch(variable):
            self.fail(f"{value!r} is no value for a variable: write ENV=PATH.", param, ctx)
        return variable, Path().convert(path, param, ctx)
