"""`calltriage pipeline`: investigations that run by themselves. A command's module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from calltriage.cli.options import begin

COMMANDS = {
    "init": "files:init",
    "check": "files:check",
    "run": "running:run",
    "watch": "watching:watch",
    "worker": "working:worker",
    "status": "runs:status",
    "cancel": "runs:cancel",
    "findings": "reviewing:list_findings",
    "accept": "reviewing:accept",
    "dismiss": "reviewing:dismiss",
    "missed": "reviewing:missed",
    "sample": "reviewing:sample",
    "report": "reporting:report",
    "incidents": "incidents:list_incidents",
    "mute": "incidents:mute",
    "unmute": "incidents:unmute",
    "merge": "incidents:merge",
    "split": "incidents:split",
    "eval": "evaluating:evaluate_file",
}
"""Each command's module here and its name there, in the order of the help."""


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), name)
        return found if isinstance(found, click.Command) else None


@click.command(cls=Commands)
@click.pass_context
def pipeline(context: click.Context) -> None:
    """Investigations that run by themselves: look through calls, verify what is found, file an issue once.

    A pipeline is a TOML file with detectors. Begin with `init`, then `check` and `run --dry-run`, which files nothing.
    """
    begin(context, "watch", "worker")
