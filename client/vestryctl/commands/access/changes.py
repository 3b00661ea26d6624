"""`vestryctl access patch` and `edit`: changes of the policy's runtime layer."""

from __future__ import annotations

from typing import Any

import click

from vestryctl import layered
from vestryctl.app import App, pass_app
from vestryctl.commands.access.policy import Policy
from vestryctl.documents import read_merge_patch
from vestryctl.editing import edit_layer
from vestryctl.layered import Terms
from vestryctl.options import Command, dry_run_option, expected_version_option, message_option, yes_option
from vestryctl.sources import STANDARD_INPUT


@click.command(
    cls=Command,
    examples=[
        "vestryctl access patch on-call.yaml -m 'bob is on call'",
        'echo \'{"rules": {"on-call": null}}\' | vestryctl access patch',
        "vestryctl access patch on-call.json --dry-run",
    ],
)
@click.argument("file", default=STANDARD_INPUT)
@message_option
@expected_version_option
@dry_run_option
@pass_app
def patch(app: App, /, file: str, **how: Any) -> None:
    """Apply a merge patch (RFC 7396) to the runtime layer.

    FILE is JSON, YAML or TOML by its ending; without FILE, or with -, standard input is read. A null takes a key out of
    the layer, an array replaces an array. A policy under which nobody could change the policy is refused.
    """
    merge_patch = read_merge_patch(file)
    policy = Policy(app)
    layered.patch(app, policy, policy.read(), merge_patch, Terms(**how))


@click.command(
    cls=Command,
    examples=["vestryctl access edit", "EDITOR='code --wait' vestryctl access edit --yaml -m 'bob is on call'"],
)
@click.option("--yaml", "is_yaml", is_flag=True, help="Edit YAML, with the policy in force beside it as a comment.")
@message_option
@yes_option
@pass_app
def edit(app: App, message: str, *, is_yaml: bool, yes: bool) -> None:
    """Edit the runtime layer in $VISUAL or $EDITOR.

    The result is checked, and the editor opens again with what is wrong. Then the change of the policy in force is
    shown, and confirmed by you. Nothing is changed before that, nor if somebody else makes a change meanwhile (exit
    code 4); what was written is kept in a file then. In the layer, null deletes what the other layers say.
    """
    edit_layer(app, Policy(app), message, is_yaml=is_yaml, ask=not yes)
