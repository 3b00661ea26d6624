"""The group `vestryctl audit` and its commands, in the order in which help lists them."""

from __future__ import annotations

import click

from vestryctl.commands.audit.export import export
from vestryctl.commands.audit.reading import list_
from vestryctl.commands.audit.tail import tail
from vestryctl.commands.audit.verify import verify
from vestryctl.options import Group


@click.group(cls=Group)
def audit() -> None:
    """Read the audit log, and check that nobody has changed it.

    Each change of configuration, each refusal of files, each backup and each start and stop of the daemon is a record; none
    is ever changed or deleted.
    """


for _command in (list_, tail, verify, export):
    audit.add_command(_command)
