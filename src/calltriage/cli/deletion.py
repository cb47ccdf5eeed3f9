"""`calltriage desk delete`: take an imported call or conversation off the embedded desk."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click
from anyio import to_thread

from calltriage.cli.listing import show_rows
from calltriage.cli.options import ORGANISATION, TEXT, settings_of
from calltriage.cli.terminal import say

if TYPE_CHECKING:
    from calltriage.desk.operating.deletion import Kind, Pointing
    from calltriage.settings import Settings

KEPT = (
    "Its words stay in issues' titles, flags and comments that quote it, in the journal, and in backups: those of `desk "
    "backup`, and the copies of the database that an upgrade or a restore left in the data folder. Of what pipelines found "
    "in it, ids, states and verdicts stay, and no words; what other calls of the same incident share with it stays with "
    "them. This command does not reach cassettes (`record` of an endpoint in a pipeline's file), answers of models that "
    "workers on other machines keep (for 90 days at most), and reports that were written."
)
YES = click.option(
    "--yes", is_flag=True, help="Delete it. Without this option the command only shows what points at it."
)


@click.group("delete")
def delete() -> None:
    """Delete an imported call or conversation, with what points at it told.

    Links to it stay and say that it is unavailable, without its summary; flags stay; each issue hears of it in its feed. Its
    words stay in titles, flags and comments already written, in the journal (`calltriage journal`), and in backups: those of
    `desk backup`, and the copies of the database that an upgrade or a restore left in the data folder. What pipelines found
    in a call stays as ids, states and verdicts. Not reached are cassettes, what workers on other machines keep of models'
    answers, and written reports. Importing it again brings it back. A file is deleted as an attachment.
    """


@delete.command("call")
@click.argument("id", type=TEXT)
@ORGANISATION
@YES
@click.pass_context
def delete_call(context: click.Context, id: str, organisation: str | None, *, yes: bool) -> None:
    """Delete the call ID: its transcript, summary, events and variables."""
    _delete(settings_of(context), "call", id, organisation, is_meant=yes)


@delete.command("conversation")
@click.argument("id", type=TEXT)
@ORGANISATION
@YES
@click.pass_context
def delete_conversation(context: click.Context, id: str, organisation: str | None, *, yes: bool) -> None:
    """Delete the SMS conversation ID with its messages."""
    _delete(settings_of(context), "conversation", id, organisation, is_meant=yes)


def _delete(settings: Settings, kind: Kind, row_id: str, organisation: str | None, *, is_meant: bool) -> None:
    found = anyio.run(partial(_carry_out, settings, kind, row_id, organisation, is_meant=is_meant))
    if found:
        rows = [{"issue": one.ticket, "links": 1, "flags": one.flags} for one in found]
        show_rows(rows, ("issue", "links", "flags"), as_json=False)
    said = f"{len(found)} issues have a link to this {kind}, with {sum(one.flags for one in found)} flags in all."
    if is_meant:
        say(f"Deleted the {kind}. {said} {KEPT}", err=True)
        return
    say(f"{said} {KEPT} Nothing was deleted: repeat the command with --yes to delete the {kind}.", err=True)
    sys.exit(1)


async def _carry_out(
    settings: Settings, kind: Kind, row_id: str, organisation: str | None, *, is_meant: bool
) -> list[Pointing]:
    from calltriage.desk.operating.deletion import delete_record, pointing_at  # noqa: PLC0415
    from calltriage.embedded import open_desk  # noqa: PLC0415

    async with open_desk(settings) as desk:
        found = await (delete_record if is_meant else pointing_at)(desk, kind, row_id, organisation)
    if is_meant and kind == "call":
        await _forget(settings, row_id)
    return found


async def _forget(settings: Settings, call_id: str) -> None:
    """Take the words of a deleted call out of what pipelines keep: their findings, and what models answered about it."""
    from calltriage.pipelines.chat.kept import forget  # noqa: PLC0415
    from calltriage.pipelines.ledger.retention import forget_call  # noqa: PLC0415
    from calltriage.wiring import open_ledger  # noqa: PLC0415

    await to_thread.run_sync(forget, settings.data_dir, call_id)
    async with open_ledger(settings) as ledger:
        await ledger.write(partial(forget_call, ledger=ledger, call_id=call_id))
