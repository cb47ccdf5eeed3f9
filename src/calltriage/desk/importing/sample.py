"""Three invented calls to try things on: an agent that skips verification, a wrong queue, and one that went well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select

from calltriage.desk.database.tables import calls
from calltriage.desk.importing.entries import Reading, entry_of
from calltriage.desk.importing.loading import Imported, load_import
from calltriage.leaves.strict_json import JsonObject

if TYPE_CHECKING:
    from calltriage.desk.app import Desk

_CALLS: tuple[tuple[str, str, str, str], ...] = (
    (
        "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e01",
        "2026-04-30T14:11:08.000Z",
        "Caller asked for a refund; the agent transferred without verifying the account.",
        """\
agent: Thanks for calling Northwind Energy, this is Ava. How can I help?
caller: Hi, I was billed twice in March and I would like one of the payments back.
agent: I am sorry to hear that. I can help you with the double payment.
caller: Do you need my account number or the email on the account?
agent: No, that's fine. I'm transferring you to the refunds team now.
caller: Wait, you have not asked me a single question about who I am, are you sure that this is safe?
agent: Transferring you now. Goodbye.""",
    ),
    (
        "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e02",
        "2026-05-02T09:40:51.000Z",
        "Caller wanted to report an outage and landed in billing.",
        """\
agent: Northwind Energy, this is Ava. How can I help?
caller: The power in our whole street went out ten minutes ago.
agent: I can help you with your bill. What is the invoice number?
caller: It is not about a bill, it is about an outage, please connect me to the right people.
agent: One moment, connecting you to billing.""",
    ),
    (
        "5d0c6a0e-6f1b-4a53-9d57-0f6a1b7c2e03",
        "2026-05-04T16:20:00.000Z",
        "Caller changed the payment date; everything was verified and confirmed.",
        """\
agent: Northwind Energy, this is Ava. How can I help?
caller: I need to move my payment date to the fifteenth.
agent: Happy to. May I have the email on the account first?
caller: It is jordan at example dot com.
agent: Thank you, Jordan. Your payment date is now the fifteenth of each month.
caller: Perfect, thanks.""",
    ),
)


async def load_sample(desk: Desk, org_id: str | None = None) -> Imported:
    """Load the calls into an organisation, the desk's own unless another is named. A repeat changes nothing."""
    entries = [entry_of(json.loads(line), "the sample", Reading()) for line in sample_lines()]
    return await load_import(desk, entries, org_id=org_id)


async def load_sample_if_empty(desk: Desk) -> None:
    """Load them into the desk's own organisation unless it has calls. So one that a person deleted does not come back
    while others are there."""
    org_id = (await desk.access.facts())["org_id"]
    query = select(calls.c.id).where(calls.c.org_id == org_id).limit(1)
    if await desk.store.read(lambda connection: connection.execute(query).first()) is None:
        await load_sample(desk, org_id)


def sample_lines() -> list[str]:
    """The calls as lines of an import file."""
    lines: list[str] = []
    for call_id, created_at, summary, script in _CALLS:
        turns: list[JsonObject] = []
        for number, said in enumerate(script.splitlines()):
            speaker, _, text = said.partition(": ")
            turns.append({"speaker": speaker, "text": text, "start_ms": number * 6000})
        lines.append(json.dumps({"call_id": call_id, "created_at": created_at, "summary": summary, "turns": turns}))
    return lines
