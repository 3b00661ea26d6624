"""`vestryctl config edit`: the runtime layer in an editor."""

from __future__ import annotations

import click

from vestryctl.app import App, pass_app
from vestryctl.commands.config.namespace import Namespace
from vestryctl.editing import edit_layer
from vestryctl.options import Command, message_option, namespace_option, yes_option


@click.command(
    cls=Command,
    examples=[
        "vestryctl config edit",
        "EDITOR='code --wait' vestryctl config edit -n billing --yaml -m 'winter limits'",
    ],
)
@namespace_option
@click.option("--yaml", "is_yaml", is_flag=True, help="Edit YAML, with the document in force beside it as a comment.")
@message_option
@yes_option
@pass_app
def edit(app: App, namespace: str, message: str, *, is_yaml: bool, yes: bool) -> None:
    """Edit the runtime layer in $VISUAL or $EDITOR.

    The result is checked, and the editor opens again with what is wrong. Then the change of the document in force is
    shown, and confirmed by you. Nothing is changed before that, nor if somebody else makes a change meanwhile (exit
    code 4); what was written is kept in a file then. In the layer, null deletes what the other layers say.
    """
    edit_layer(app, Namespace(app, namespace), message, is_yaml=is_yaml, ask=not yes)
