"""``mce completion``: the script that lets a shell complete ``mce``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from model_checkpoint.cli.options import command
from model_checkpoint.cli.output import print_json

_COLONS = """
COMP_WORDBREAKS=${COMP_WORDBREAKS//:}  # best:val_loss is one word
"""
_SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    "mce completion bash >> ~/.bashrc",
    "mce completion zsh >> ~/.zshrc",
    "mce completion fish > ~/.config/fish/completions/mce.fish",
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that lets SHELL complete commands and options of mce."""
    completer = get_completion_class(shell)
    assert completer is not None
    script = completer(context.find_root().command, {}, "mce", "_MCE_COMPLETE").source()
    if shell == "bash":
        script += _COLONS
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
