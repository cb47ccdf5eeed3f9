"""`calltriage pipeline report`: what was found in a time, as Markdown and as an HTML page."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from calltriage.cli.options import TEXT
from calltriage.cli.pipelines.files import a_time
from calltriage.cli.pipelines.laid_out import show_markdown
from calltriage.cli.pipelines.reviewing import on_ledger, on_parts
from calltriage.cli.terminal import say
from calltriage.client import attachments
from calltriage.errors import NotFound, SettingsError
from calltriage.leaves.gate import gate
from calltriage.operations.issues import ListIssues
from calltriage.operations.resource_links import AttachResource
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.parts import Parts
from calltriage.pipelines.reports.figures import Figures, gathered
from calltriage.pipelines.reports.markdown import as_markdown
from calltriage.pipelines.reports.page import as_page
from calltriage.pipelines.reviewing import check_names
from calltriage.pipelines.windows import window


@click.command("report")
@click.option("--since", callback=a_time, default="7d", show_default=True, metavar="WHEN", help="24h, 7d, 2026-05-01.")
@click.option("--pipeline", type=TEXT, metavar="NAME", help="Only of this pipeline.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write an HTML page, too."
)
@click.option("--attach-to", type=TEXT, metavar="TICKET", help="Attach the page to this issue as evidence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def report(
    context: click.Context,
    *,
    since: str,
    pipeline: str | None,
    html: Path | None,
    attach_to: str | None,
    as_json: bool,
) -> None:
    """Print a report: findings by state, precision with its interval, incidents, what waits for a verdict.

    It is Markdown, laid out on a terminal that is wide enough.

    The page is one file without a script; it holds the same with plots, and opens without a server.
    """

    async def read(ledger: Ledger) -> Figures:
        await check_names(ledger, pipeline)
        first = window(ledger.clock(), since=since).since or ""
        return await ledger.read(partial(gathered, ledger=ledger, since=first, pipeline=pipeline))

    figures = on_ledger(context, read)
    if as_json:
        say(json.dumps(gate(asdict(figures))[0]))
    else:
        show_markdown(as_markdown(figures), Console() if sys.stdout.isatty() else None)
    if html is not None:
        try:
            html.write_text(as_page(figures), encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{html} cannot be written ({error.strerror}).") from None
        say(f"{html} is written.", err=True)
    if attach_to is not None:
        say(f"Attached to {on_parts(context, partial(_attached, figures=figures, ticket=attach_to))}.", err=True)


async def _attached(parts: Parts, figures: Figures, ticket: str) -> str:
    """Store the page and make it evidence of an issue. Returns the ticket."""
    if not parts.client.shares_ids:
        raise SettingsError(
            "Here files and issues are of two services that share no ids. Attach the page by hand (--html)."
        )
    found = (await parts.client.send(ListIssues(search=ticket, limit=100))).items
    issue = next((one for one in found if ticket.upper() in (one.triage_id, one.id.upper())), None)
    if issue is None:
        raise NotFound("No issue has this ticket number.")
    data = as_page(figures).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    uploaded = await attachments.upload(parts.client, attachments.Content("text/html", len(data), pieces))
    name = f"pipeline report {figures.until.replace(':', '.')}.html"[:64]
    made = await attachments.create(parts.client, name, uploaded)
    attach = AttachResource(issue_id=issue.id, resource_type="file", resource_id=made.result.id)
    await parts.client.send(attach)
    return issue.triage_id or issue.id
