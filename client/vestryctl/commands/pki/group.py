"""The group `vestryctl pki` and its commands, in the order in which help lists them."""

from __future__ import annotations

import click

from vestryctl.commands.pki.commands import init, issue, list_, renew, revoke
from vestryctl.options import Group


@click.group(cls=Group)
def pki() -> None:
    """Run a small private CA, for TLS to vestryd.

    It is a directory, and needs no daemon. Its key, ca-key.pem, can make anybody anyone: keep the directory off the machines
    that use the certificates, and copy to them what they need, ca.pem and the directory of a name.
    """


for _command in (init, issue, renew, revoke, list_):
    pki.add_command(_command)
