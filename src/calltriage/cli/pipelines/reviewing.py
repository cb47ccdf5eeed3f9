"""`calltriage pipeline findings`, `accept`, `dismiss`, `missed`, `sample`: what people say of findings."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click

from calltriage.cli.listing import JSON, show_rows
from calltriage.cli.options import TEXT, settings_of
from calltriage.cli.terminal import say
from calltriage.errors import CallError, StoreError
from calltriage.leaves.gate import gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines import reviewing
from calltriage.pipelines.ledger import findings, results
from calltriage.pipelines.ledger.ledger import Ledger
from calltriage.pipelines.parts import Parts, open_parts
from calltriage.pipelines.reviewing import Reviewer

if TYPE_CHECKING:
    from calltriage.client.client import Client

T = TypeVar("T")

STATES = ("new", "accepted", "filed", "dismissed", "unverified", "stale", "counted", "suppressed")
COLUMNS = ("id", "state", "detector", "call_id", "turn", "severity")
ID, QUOTE, NOTE = 12, 100, 200
"""Characters of an id, a quote and a note that a person reads."""
REASON = click.option("--reason", type=TEXT, metavar="WORDS", help="Why, in your words; kept with the verdict.")


def on_ledger(context: click.Context, act: Callable[[Ledger], Awaitable[T]]) -> T:
    """Do something on the ledger of the settings. No API is asked."""
    from calltriage.wiring import open_ledger  # noqa: PLC0415

    async def run() -> T:
        async with open_ledger(settings_of(context)) as ledger:
            return await act(ledger)

    return anyio.run(run)


def on_parts(context: click.Context, act: Callable[[Parts], Awaitable[T]]) -> T:
    """Do something with the ledger and the API of the settings."""
    from calltriage.wiring import open_client  # noqa: PLC0415

    async def run() -> T:
        async with open_client(settings_of(context)) as client, open_parts(client) as parts:
            return await act(parts)

    return anyio.run(run)


def person() -> Reviewer:
    """The person at the terminal, as the system names them."""
    try:
        return Reviewer(getpass.getuser()[:64])
    except (OSError, KeyError):  # a container's user without a name
        return Reviewer("a person")


def told(body: JsonObject, sentence: str, *, as_json: bool) -> None:
    """Say what was done, to a person or a program."""
    say(json.dumps(gate(body)[0]) if as_json else sentence)


@click.command("findings")
@click.option("--state", type=click.Choice(STATES), help="Only such.  [default: all]")
@click.option("--pipeline", type=TEXT, metavar="NAME", help="Only of this pipeline.")
@click.option("--detector", type=TEXT, metavar="NAME", help="Only of this detector.")
@click.option("--call", "call_id", type=TEXT, metavar="ID", help="Only of this call.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, newest first.")
@JSON
@click.pass_context
def list_findings(context: click.Context, *, as_json: bool, **narrowed: Any) -> None:
    """List what detectors found, newest first: new ones wait for a verdict (accept, dismiss)."""
    wanted = findings.Wanted(**narrowed)

    async def read(ledger: Ledger) -> tuple[list[JsonObject], int]:
        await reviewing.check_names(ledger, wanted.pipeline, wanted.detector)
        return await ledger.read(partial(findings.page, ledger=ledger, wanted=wanted))

    rows, total = on_ledger(context, read)
    rows = [gate(row)[0] for row in rows]
    show_rows(
        rows if as_json else [{**row, "id": row["id"][:ID]} for row in rows], COLUMNS, as_json=as_json, notes=_notes
    )
    if not as_json:
        say(f"{len(rows)} of {total}.", err=True)


def _notes(row: Mapping[str, Any]) -> list[str]:
    """What is told below a finding: its words, and why it was found and is where it is."""
    words = [f"“{_cut(row['quote'], QUOTE)}”"] if row["quote"] else []
    return [*words, *(_cut(row[name], NOTE) for name in ("note", "why") if row[name])]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@click.command("accept")
@click.argument("finding", metavar="ID", type=TEXT)
@REASON
@JSON
@click.pass_context
def accept(context: click.Context, *, finding: str, reason: str | None, as_json: bool) -> None:
    """Say that a finding is right, and file it.

    It goes to the issue of its incident, which is filed if there is none. ID may be the beginning of it. Exit status 1 when
    the verdict is on record and the finding could not be filed: the next run files it, once the API has its call.
    """

    async def act(parts: Parts) -> tuple[JsonObject, str | None]:
        row = await reviewing.found(parts.ledger, finding)
        row = await reviewing.review(parts.ledger, row, person(), "right", reason, client=parts.client)
        try:
            row = await reviewing.file_accepted(parts, row)
            is_filed = row["state"] == "filed"
            return {**row, "issue": await reviewing.issue_name(parts.ledger, row) if is_filed else None}, None
        except (CallError, StoreError) as error:
            return row, str(error)

    row, failed = on_parts(context, act)
    where = f"filed on {row.get('issue') or row['issue_id']}" if row["state"] == "filed" else row["state"]
    where += f" ({row['why']})" if row["state"] == "counted" and row["why"] else ""
    told(row, f"{row['id']}: right; {where}.", as_json=as_json)
    if row["why"] == findings.NO_CALL:
        say("Import its call (calltriage desk import FILE): the next run that finds it files it.", err=True)
        raise SystemExit(1)
    if failed is not None:
        say(f"It could not be filed now: {failed} The next run files it.", err=True)
        raise SystemExit(1)


@click.command("dismiss")
@click.argument("finding", metavar="ID", type=TEXT)
@click.option(
    "--reason", "verdict", type=click.Choice(reviewing.DISMISS_REASONS), required=True,
    help="wrong: it is not what the detector says, which speaks against the detector. expected: meant to be so. minor: not "
    "worth an issue. duplicate: known already.",
)  # fmt: skip
@click.option("--note", type=TEXT, metavar="WORDS", help="More, in your words; kept with the verdict.")
@JSON
@click.pass_context
def dismiss(
    context: click.Context, *, finding: str, verdict: reviewing.Reason, note: str | None, as_json: bool
) -> None:
    """Say that a finding is not to be filed. What was filed of it stays until a person removes it."""

    async def act(ledger: Ledger, client: Client | None = None) -> tuple[JsonObject, list[str]]:
        row = await reviewing.found(ledger, finding)
        undo = await reviewing.undoing(ledger, row)
        return await reviewing.review(ledger, row, person(), verdict, note, client=client), undo

    if note is None:
        row, undo = on_ledger(context, act)
    else:  # the call's record says what of a note is masked
        row, undo = on_parts(context, lambda parts: act(parts.ledger, parts.client))
    told({**row, "to_undo": undo}, f"{row['id']}: dismissed as {verdict}.", as_json=as_json)
    if not as_json:
        for line in undo:
            say(line)


@click.command("missed")
@click.argument("call_id", metavar="CALL", type=TEXT)
@click.argument("detector", type=TEXT)
@click.argument("quote", type=TEXT, required=False)
@click.option("--nothing", is_flag=True, help="Say instead that the call has no such moment.")
@REASON
@JSON
@click.pass_context
def missed(
    context: click.Context, *, quote: str | None, nothing: bool, reason: str | None, as_json: bool, **named: str
) -> None:
    """Say that a detector did not find a moment: the words of its turn, or --nothing for a call without one.

    Choose the calls with `calltriage pipeline sample`: the recall in `calltriage pipeline report` is counted from them. A
    label on another call counts for that call alone. What the detector did find takes `accept` or `dismiss` instead.
    """
    if (quote is None) != nothing:
        raise click.UsageError("Give the words that were said, or --nothing.")
    act: Callable[[Parts], Awaitable[JsonObject]] = partial(reviewing.nothing, **named, reviewer=person(), note=reason)
    if quote is not None:
        act = partial(reviewing.missed, **named, quote=quote, reviewer=person(), note=reason)
    body = on_parts(context, act)
    where = "nothing to find" if nothing else f"missed in turn {body['turn']}"
    told(body, f"{body['call_id']}: {where} for {body['detector']}.", as_json=as_json)


@click.command("sample")
@click.option("--unflagged", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many calls.")
@click.option("--detector", type=TEXT, metavar="NAME", help="Calls without a finding of this detector.")
@JSON
@click.pass_context
def sample(context: click.Context, *, unflagged: int, detector: str | None, as_json: bool) -> None:
    """Name examined calls without a finding, to be labelled blind: the only way to a recall.

    They are chosen by a hash of their ids, and named until each is labelled with `missed`. With --detector they may have
    findings of others, and are named until they are labelled for this one. Without it one label takes a call off the list,
    and the recall rests on a share of misses that is the same in calls where only others found something. `calltriage
    pipeline report` shows the recall.
    """

    async def look(ledger: Ledger) -> tuple[list[str], bool]:
        ids = await reviewing.unflagged(ledger, unflagged, detector)
        return ids, bool(ids) or await ledger.read(partial(results.has_some, ledger=ledger))

    ids, is_begun = on_ledger(context, look)
    for call_id in ids:
        say(json.dumps({"call_id": call_id}) if as_json else call_id)
    if not ids:
        none = "No examined call is without a finding and without a label."
        say(none if is_begun else "No call was examined yet: calltriage pipeline run FILE", err=True)
