"""Tasks that begin with a search for a call."""

from __future__ import annotations

from typing import Any

from agent.desk_state import Mark
from agent.seat import Seat
from agent.staging import Ending, Start
from agent.task import Task


class FindByDay(Task):
    words = (
        "On 15 March 2026 somebody called to ask about our opening hours. Please find that call and attach it to T-1001. "
        "Attach no other call."
    )

    async def prepare(self, start: Start) -> None:
        hours = ("hello, how can i help", "what are your opening hours on saturday", "we are open from nine to five")
        await start.call("call-7a1", *hours, created_at="2026-03-14T16:20:00.000Z")
        await start.call("call-7a2", *hours, created_at="2026-03-15T09:05:00.000Z")
        card = ("hello, how can i help", "my card is gone", "i am sorry to hear that")
        await start.call("call-7a3", *card, created_at="2026-03-15T11:40:00.000Z")
        await start.call("call-7a4", *hours, created_at="2026-03-16T08:00:00.000Z")
        await start.issue("Wrong opening hours are told for Saturdays")

    def grade(self, end: Ending) -> dict[str, bool]:
        calls = end.now.issues["T-1001"].calls
        return {
            "the call of 15 March about hours is on T-1001": "call-7a2" in calls,
            "no other call is": calls <= {"call-7a2"},
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "comments", "flags"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        found = await seat.ok("find_calls", start_date="2026-03-15", end_date="2026-03-15", query="opening hours")
        (call_id,) = [row["call_id"] for row in found["items"]]
        await seat.ok("attach_resource", issue_id="T-1001", resource_type="call", resource_id=call_id)
        return f"{call_id} is attached to T-1001."

    async def mistake_of_searching_words_alone(self, seat: Seat, words: str) -> str:
        for row in await seat.rows("find_calls", query="opening hours"):
            await seat.ok("attach_resource", issue_id="T-1001", resource_type="call", resource_id=row["call_id"])
        return "Attached."


class FindByNumber(Task):
    words = (
        "The customer at +1 415 555 0143 complains that our agent hung up on him. File an issue for it, titled 'Agent hangs "
        "up on the caller', severity high, category Telephony, with his call attached and nobody else's."
    )

    async def prepare(self, start: Start) -> None:
        cut = ("good morning", "hi, my internet is down since", "goodbye")
        await start.call("call-3c1", *cut, **{"from": "+14155550134", "to": "+18005550100"})
        await start.call("call-3c2", *cut, **{"from": "+14155550143", "to": "+18005550100"})
        await start.call("call-3c3", *cut, **{"from": "+14155551430", "to": "+18005550100"})
        await start.issue("Callers wait too long", category="Telephony")

    def grade(self, end: Ending) -> dict[str, bool]:
        (filed,) = [end.now.issues[ticket] for ticket in end.new] if len(end.new) == 1 else [None]
        told = filed and (filed.title, filed.severity, filed.category)
        return {
            "one issue was filed": filed is not None,
            "its title, severity and category are those asked for": told
            == ("Agent hangs up on the caller", "high", "Telephony"),
            "his call alone is attached": filed is not None and set(filed.calls) == {"call-3c2"},
            "the issue that was there is as it was": end.kept("T-1001", "title", "calls", "status", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        return await self._file(seat, (await seat.ok("find_calls", number="+1 415 555 0143"))["items"])

    async def mistake_of_taking_every_call(self, seat: Seat, words: str) -> str:
        return await self._file(seat, (await seat.ok("find_calls"))["items"])

    async def _file(self, seat: Seat, rows: list[dict[str, Any]]) -> str:
        links = [{"resource_type": "call", "resource_id": row["call_id"]} for row in rows]
        new = {"title": "Agent hangs up on the caller", "severity": "high", "category": "Telephony"}
        return f"Filed as {(await seat.ok('create_issue', **new, resource_links=links))['triage_id']}."


class FindByWords(Task):
    words = (
        "In one of our calls the caller says that a wire transfer went to the wrong account. Attach that call to T-1001 and "
        "flag the moment where she says it as misdirected_payment."
    )
    MOMENT = Mark("call-5e2", 3, "misdirected_payment")

    async def prepare(self, start: Start) -> None:
        await start.call("call-5e1", "hello", "can i make a wire transfer by phone", "yes you can, to which account")
        await start.call(
            "call-5e2", "hello", "hi this is mia chen", "how can i help you mia",
            "my wire transfer of last friday went to the wrong account", "let me look at that account for you",
        )  # fmt: skip
        await start.call("call-5e3", "hello", "please transfer me to a colleague", "one moment please")
        await start.issue("Payments go astray")

    def grade(self, end: Ending) -> dict[str, bool]:
        issue = end.now.issues["T-1001"]
        flags = [Mark(one.call_id, one.turn, one.type) for one in issue.flags]
        return {
            "the call is attached": "call-5e2" in issue.calls,
            "no other call is": issue.calls <= {"call-5e2"},
            "the sentence is flagged": self.MOMENT in flags,
            "there is one flag": len(flags) == 1,
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        (row,) = (await seat.ok("find_calls", query='"wire transfer" wrong account'))["items"]
        where = {"call_id": row["call_id"], "quote": "went to the wrong account"}
        await seat.ok("add_flag", issue_id="T-1001", type="misdirected_payment", attach_if_missing=True, **where)
        return "Flagged."
