"""The group `vestryctl access` and its commands, in the order in which help lists them."""

from __future__ import annotations

import click

from vestryctl.commands.access.asking import check, explain
from vestryctl.commands.access.changes import edit, patch
from vestryctl.commands.access.files import reload, show, validate
from vestryctl.commands.access.versions import diff, history, rollback
from vestryctl.options import Group


@click.group(cls=Group)
def access() -> None:
    """Ask who may do what, and change it.

    The access policy is one document of users, groups, roles and rules, folded from layers: default, environment and
    override come from files, runtime from these commands; a later layer wins. An ACTION is such as secrets.access, a
    RESOURCE such as namespaces/billing/secrets/db-password.
    """


for _command in (check, explain, show, patch, edit, validate, history, diff, rollback, reload):
    access.add_command(_command)
