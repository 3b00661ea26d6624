"""`vestryctl whoami`: whom the daemon takes you for."""

from __future__ import annotations

import click

from vestry.v1 import access_pb2
from vestryctl import text
from vestryctl.app import App, pass_app
from vestryctl.options import Command
from vestryctl.wire import as_value


@click.command(cls=Command, examples=["vestryctl whoami", "VESTRY_TOKEN_FILE=ci.token vestryctl whoami -o json"])
@pass_app
def whoami(app: App) -> None:
    """Tell whom the daemon takes you for."""
    answer = app.daemon.call(app.daemon.access.WhoAmI, access_pb2.WhoAmIRequest())

    def print_facts() -> None:
        others = [one for one in answer.identities if one != answer.name]
        credential = f" ({answer.credential})" if answer.credential else ""
        ends = text.local_time(answer.expire_time) if answer.HasField("expire_time") else "never"
        app.out.facts(
            (
                ("name", answer.name),
                ("also known as", ", ".join(others) or text.NOTHING),
                ("groups", ", ".join(answer.groups) or text.NOTHING),
                ("known by", f"{answer.via}{credential}"),
                ("ends", ends),
            )
        )

    app.out.show(as_value(answer), print_facts)
