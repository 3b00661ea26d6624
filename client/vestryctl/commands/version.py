"""`vestryctl version`."""

from __future__ import annotations

import platform

import click
import grpc

from vestry import __version__
from vestryctl.app import App, pass_app
from vestryctl.options import Command


@click.command(cls=Command, examples=["vestryctl version", "vestryctl version -o json"])
@pass_app
def version(app: App) -> None:
    """Print the version of vestryctl.

    The daemon's version is in 'vestryctl status'.
    """
    facts = {"version": __version__, "python_version": platform.python_version(), "grpc_version": grpc.__version__}
    app.out.show(
        facts,
        lambda: app.out.line(f"vestryctl {__version__} (Python {facts['python_version']}, gRPC {grpc.__version__})"),
    )
