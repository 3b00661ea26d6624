"""The group `vestryctl config` and its commands, in the order in which help lists them."""

from __future__ import annotations

import click

from vestryctl.commands.config.changes import patch, set_, unset
from vestryctl.commands.config.edit import edit
from vestryctl.commands.config.files import namespaces, reload, status, validate
from vestryctl.commands.config.reading import explain, get, schema
from vestryctl.commands.config.versions import diff, history, rollback, show
from vestryctl.commands.config.watch import watch
from vestryctl.options import Group


@click.group(cls=Group)
def config() -> None:
    """Read, change and watch configuration.

    A namespace is one document, folded from layers: default, environment and override come from files, runtime from
    these commands; a later layer wins. A PATH into a document is dotted (server.port, providers.0.name, "a.b".c) or a
    JSON Pointer (/server/port).
    """


for _command in (
    get,
    explain,
    set_,
    unset,
    patch,
    edit,
    watch,
    validate,
    history,
    show,
    diff,
    rollback,
    status,
    reload,
    namespaces,
    schema,
):
    config.add_command(_command)
