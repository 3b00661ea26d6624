"""`vestryctl seal` and `unseal`: taking the secrets' keys out of the daemon's memory, and putting them in."""

from __future__ import annotations

import click

from vestry.v1 import seal_pb2
from vestryctl.app import App, pass_app
from vestryctl.failures import Failure
from vestryctl.options import Command, yes_option
from vestryctl.passphrases import passphrase, passphrase_file_option
from vestryctl.wire import as_value


@click.command(cls=Command, examples=["vestryctl seal", "vestryctl seal --yes"])
@yes_option
@pass_app
def seal(app: App, *, yes: bool) -> None:
    """Drop the keys of the secrets from the daemon's memory.

    Nobody can have a secret then, until somebody unseals or the daemon starts again; everything else goes on. Asks first.
    """
    if not yes and app.confirm("Seal the secrets? Nobody can have one until they are unsealed") != "y":
        raise Failure("nothing was changed")
    answer = app.daemon.call(app.daemon.seal.Seal, seal_pb2.SealRequest())
    app.out.show(as_value(answer), lambda: app.out.line("sealed; 'vestryctl unseal' opens the secrets again"))


@click.command(
    cls=Command,
    examples=[
        "vestryctl unseal",
        "vestryctl unseal --passphrase-file /run/keys/vestry",
        "vestryctl unseal --own-sources",
    ],
)
@click.option("--own-sources", is_flag=True, help="Let the daemon try its own: its systemd credential, its key file.")
@passphrase_file_option
@pass_app
def unseal(app: App, passphrase_file: str | None, *, own_sources: bool) -> None:
    """Open the secrets.

    The passphrase of any slot will do; it is asked for without being shown.
    """
    if own_sources and passphrase_file is not None:
        raise click.UsageError("give --own-sources or --passphrase-file, not both.")
    request = seal_pb2.UnsealRequest(passphrase="" if own_sources else passphrase(passphrase_file, confirm=False))
    answer = app.daemon.call(app.daemon.seal.Unseal, request)
    app.out.show(as_value(answer), lambda: app.out.line(f"open, by slot {answer.slot_id}"))
