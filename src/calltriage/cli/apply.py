"""`calltriage apply`: many writes from a file, checked together, then made once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from calltriage.cli.options import FILE, settings_of


@click.command()
@click.argument("path", metavar="PLAN.jsonl", type=FILE)
@click.option("--check", is_flag=True, help="Say what each write would do, and make none.")
@click.option("--anew", is_flag=True, help="Plan the file again, although it was begun or applied within its 24 hours.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.pass_context
def apply(context: click.Context, path: Path, *, check: bool, anew: bool, as_json: bool) -> None:
    """Make the writes of a file, all or none at first sight; `-` is standard input.

    Each line is a write: {"tool": "add_comment", "arguments": {"issue_id": "T-1042", "detail": "Seen again."}}. The tools
    are create_issue, update_issue, attach_resource, add_flag, update_flag, link_issue and add_comment, with the arguments
    that an agent gives them. "$3" as the id of an issue or a flag is what the third write makes. At most 200 writes.

    All are checked first; where one has a problem, each is named with its line, and nothing is made. The same command
    again goes on where the last one ended, and makes nothing twice.

    Exit status: 0 all are made (with --check: all can be); 1 something is wrong with the file or a write, and nothing was
    made; 2 wrong usage; 3 it stopped before the end: what was made is told, and so is why.
    """
    from calltriage.cli.applying import Wish, apply_file  # noqa: PLC0415

    sys.exit(apply_file(settings_of(context), path, Wish(check=check, anew=anew, as_json=as_json)))
