"""`vestryctl completion`: what makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vestryctl.failures import Failure
from vestryctl.options import Command

COMPLETION_VARIABLE = "_VESTRYCTL_COMPLETE"


@click.command(
    cls=Command,
    examples=[
        "bash:  source <(vestryctl completion bash)                    # in ~/.bashrc",
        "zsh:   source <(vestryctl completion zsh)                     # in ~/.zshrc, after compinit",
        "fish:  vestryctl completion fish > ~/.config/fish/completions/vestryctl.fish",
    ],
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    Names of namespaces and paths into documents are asked from the daemon, when it answers within half a second.
    """
    class_ = get_completion_class(shell)
    if class_ is None:
        raise Failure(f"can't complete for {shell}: this version of click does not know it")
    click.echo(class_(context.find_root().command, {}, "vestryctl", COMPLETION_VARIABLE).source())
