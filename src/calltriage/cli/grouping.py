"""The first page of help: commands by what they are for, and examples."""

from __future__ import annotations

import click

GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("demo", "install", "serve", "doctor"),
    "Work": ("board", "apply", "pipeline"),
    "Data": ("desk", "journal", "transcripts"),
    "Shell": ("completion",),
}
"""Names of commands by the heading that help shows them under; all others come under "More"."""
EXAMPLES = (
    ("calltriage demo", "watch an agent triage a call"),
    ("calltriage install claude-desktop", "write it into a host's configuration"),
    ("calltriage desk import calls.jsonl", "bring calls in"),
    ("calltriage serve --http --port 8000", "MCP for clients elsewhere"),
)


class Grouped(click.Group):
    """A group whose help shows its commands under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's own signature
        placed = {name for names in GROUPS.values() for name in names}
        rest = tuple(sorted(self.commands.keys() - placed))
        for heading, names in {**GROUPS, "More": rest}.items():
            if not names:
                continue
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(200)) for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Examples"):
            formatter.write_dl(list(EXAMPLES))
