"""`calltriage pipeline incidents`, `mute`, `unmute`, `merge`, `split`: what people decide about incidents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
from sqlalchemy import Connection

from calltriage.cli.listing import JSON, show_rows
from calltriage.cli.options import TEXT
from calltriage.cli.pipelines.reviewing import on_ledger, told
from calltriage.leaves.gate import gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger import incidents
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.ledger.turns import alone
from calltriage.pipelines.reports.markdown import group_of, reasons_of

COLUMNS = ("fingerprint", "state", "ticket", "detector", "kind", "findings", "calls", "last_call")
DAY = len("2026-05-06")
FINGERPRINT = click.argument("name", metavar="FINGERPRINT", type=TEXT)
WHY = click.option("--reason", type=TEXT, metavar="WORDS", required=True, help="Why; kept with the incident.")


@click.command("incidents")
@click.option("--state", type=click.Choice(["open", "waiting", "filed", "resolved", "regressed"]), help="Only such.")
@click.option("--muted/--heard", default=None, help="Only muted ones, or only others.")
@click.option("--merged", is_flag=True, help="Those that were merged into others.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, latest first.")
@JSON
@click.pass_context
def list_incidents(context: click.Context, *, as_json: bool, **narrowed: Any) -> None:
    """List incidents: findings that belong together, and the issue of each.

    Below an incident stands what its calls share, and why it joined an issue, was merged, split or muted. Fingerprints are
    cut, and name an incident as they stand; --json has them whole.
    """

    async def read(ledger: Ledger) -> list[JsonObject]:
        return await ledger.read(lambda it: incidents.listed(it, ledger, **narrowed))

    rows = [gate(row)[0] for row in on_ledger(context, read)]
    show_rows(rows if as_json else map(_cut, rows), COLUMNS, as_json=as_json, notes=_notes)


def _cut(row: JsonObject) -> JsonObject:
    """A row as a table shows it: narrow enough for a terminal."""
    last = row["last_call_at"]
    return {**row, "fingerprint": row["fingerprint"][: incidents.SHOWN], "last_call": last and last[:DAY]}


def _notes(row: Mapping[str, Any]) -> list[str]:
    """What is told below an incident: what its calls share, and why it is where it is."""
    incident = dict(row)
    shared = group_of(incident)
    return [*([f"group: {shared}"] if shared else []), *reasons_of(incident)]


def _change(context: click.Context, name: str, act: Callable[[Connection, Ledger, JsonObject], Any]) -> JsonObject:
    """Change an incident while nobody files for it. Returns it as it is then."""

    async def change(ledger: Ledger) -> JsonObject:
        named = await ledger.read(lambda it: incidents.named(it, ledger, name))
        async with alone(ledger, f"incident {named['fingerprint']}"):
            await ledger.write(lambda it: act(it, ledger, named))
        query = named["fingerprint"]
        found = await ledger.read(lambda it: incidents.by_fingerprint(it, ledger, query))
        return found or named

    return on_ledger(context, change)


@click.command("mute")
@FINGERPRINT
@click.option("--until-escalating", is_flag=True, help="Until it is found far more often than in the days before.")
@WHY
@JSON
@click.pass_context
def mute(context: click.Context, *, name: str, until_escalating: bool, reason: str, as_json: bool) -> None:
    """Count an incident's findings and file none. FINGERPRINT may be its beginning, or the issue's ticket.

    A finding that a person accepts is filed all the same.
    """
    how: incidents.Muted = "until_escalating" if until_escalating else "always"
    row = _change(context, name, lambda it, ledger, one: incidents.mute(it, ledger, one["fingerprint"], how, reason))
    told(row, f"{row['fingerprint']}: muted{' until it escalates' if until_escalating else ''}.", as_json=as_json)


@click.command("unmute")
@FINGERPRINT
@JSON
@click.pass_context
def unmute(context: click.Context, *, name: str, as_json: bool) -> None:
    """File an incident's findings again from now on."""
    row = _change(context, name, lambda it, ledger, one: incidents.unmute(it, ledger, one["fingerprint"]))
    told(row, f"{row['fingerprint']}: heard again.", as_json=as_json)


@click.command("merge")
@FINGERPRINT
@click.argument("into", type=TEXT)
@WHY
@JSON
@click.pass_context
def merge(context: click.Context, *, name: str, into: str, reason: str, as_json: bool) -> None:
    """Let an incident's findings go to the issue of another one (INTO) from now on."""

    async def act(ledger: Ledger) -> JsonObject:
        one, other = await ledger.read(
            lambda it: (incidents.named(it, ledger, name), incidents.named(it, ledger, into))
        )
        async with alone(ledger, *(f"incident {each['fingerprint']}" for each in (one, other))):
            await ledger.write(lambda it: incidents.merge(it, ledger, one["fingerprint"], other["fingerprint"], reason))
        return other

    row = on_ledger(context, act)
    told(
        row,
        f"Its findings go to {row['fingerprint']} from now on ({row['ticket'] or 'no issue yet'}).",
        as_json=as_json,
    )


@click.command("split")
@FINGERPRINT
@WHY
@JSON
@click.pass_context
def split(context: click.Context, *, name: str, reason: str, as_json: bool) -> None:
    """Give an incident an issue of its own again, after it was merged or joined an issue of others.

    FINGERPRINT may be its beginning, or the ticket of the issue.
    """

    async def act(ledger: Ledger) -> JsonObject:
        one = await ledger.read(lambda it: incidents.separable(it, ledger, name))
        fingerprint = one["fingerprint"]
        owner = await ledger.read(lambda it: incidents.by_fingerprint(it, ledger, fingerprint)) or one
        async with alone(ledger, f"incident {fingerprint}", f"incident {owner['fingerprint']}"):
            return await ledger.write(lambda it: incidents.split(it, ledger, fingerprint, reason))

    row = on_ledger(context, act)
    told(row, f"{row['fingerprint']}: has an issue of its own from now on.", as_json=as_json)
