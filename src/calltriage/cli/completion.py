"""`calltriage completion`: what lets a shell complete commands and options."""

from __future__ import annotations

import click

from calltriage.cli.terminal import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what lets a shell complete commands and options.

    For bash, in ~/.bashrc: eval "$(calltriage completion bash)". For zsh the same, in ~/.zshrc.

    For fish: calltriage completion fish > ~/.config/fish/completions/calltriage.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    if (found := get_completion_class(shell)) is not None:
        for line in found(context.find_root().command, {}, "calltriage", "_CALLTRIAGE_COMPLETE").source().splitlines():
            say(line)
