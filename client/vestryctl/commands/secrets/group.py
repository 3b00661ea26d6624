"""The group `vestryctl secrets` and its commands, in the order in which help lists them."""

from __future__ import annotations

import click

from vestryctl.commands.secrets.access import access
from vestryctl.commands.secrets.deleting import delete, destroy, undelete
from vestryctl.commands.secrets.exporting import export
from vestryctl.commands.secrets.importing import import_
from vestryctl.commands.secrets.keyring import keyring
from vestryctl.commands.secrets.reading import get, list_, rotations, versions
from vestryctl.commands.secrets.rotating import rotate
from vestryctl.commands.secrets.watch import watch
from vestryctl.commands.secrets.writing import put, update
from vestryctl.options import Group


@click.group(cls=Group)
def secrets() -> None:
    """Keep, read and rotate secrets.

    A secret has versions: the current one is what programs get, the previous one still works for a grace period after a
    rotation, a pending one waits to be promoted. Values are encrypted at rest, and every access to one is in the audit log.
    """


for _command in (
    put,
    access,
    get,
    list_,
    versions,
    update,
    rotate,
    rotations,
    watch,
    delete,
    undelete,
    destroy,
    import_,
    export,
    keyring,
):
    secrets.add_command(_command)
