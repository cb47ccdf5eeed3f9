"""Tasks about moments of calls."""

from __future__ import annotations

from agent.desk_state import Mark
from agent.seat import Seat
from agent.staging import Ending, Start
from agent.task import Task


class FlagByQuote(Task):
    words = (
        'In call-account, which is on T-1001, the caller says "I already told you my account number". Flag that moment as '
        "repeated_question, with the note: asked twice."
    )

    async def prepare(self, start: Start) -> None:
        await start.call(
            "call-account", "what is your account number", "five five one nine two", "thank you",
            "so can you help me", "of course, you told me your account number already, did you not",
            "Yes! I already told you my account number.", "sorry, what is your account number",
        )  # fmt: skip
        await start.issue("Agent asks twice", calls=("call-account",))

    def grade(self, end: Ending) -> dict[str, bool]:
        flags = end.now.issues["T-1001"].flags
        of_type = [flag for flag in flags if flag.type == "repeated_question"]
        return {
            "there is one flag": len(flags) == 1,
            "it is of the type": len(of_type) == 1,
            "it is where the caller says it": [(flag.call_id, flag.turn) for flag in of_type] == [("call-account", 5)],
            "it has the note": any("asked twice" in flag.note.casefold() for flag in of_type),
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        what = {"type": "repeated_question", "note": "asked twice"}
        quote = "I already told you my account number"
        await seat.ok("add_flag", issue_id="T-1001", call_id="call-account", quote=quote, **what)
        return "Flagged."

    async def mistake_of_flagging_the_agents_turn(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-account", "message_index": 4}
        await seat.ok("add_flag", issue_id="T-1001", type="repeated_question", note="asked twice", **where)
        return "Flagged."


class CorrectFlag(Task):
    words = (
        "The missed_handoff flag on T-1001 points at the greeting of call-human. It should point at where the caller asks "
        "for a person the second time. Please correct it, with type and note as they are."
    )
    RIGHT = Mark("call-human", 5, "missed_handoff", "Nobody reacts.")

    async def prepare(self, start: Start) -> None:
        await start.call(
            "call-human", "hello, this is the assistant", "can i talk to a person", "what is it about", "my invoice",
            "which invoice do you mean", "i want to talk to a person, please", "which invoice do you mean",
        )  # fmt: skip
        ticket = await start.issue("Agent does not hand over", calls=("call-human",))
        await start.flag(ticket, "call-human", 6, "repeated_question")
        await start.flag(ticket, "call-human", 0, "missed_handoff", "Nobody reacts.")

    def grade(self, end: Ending) -> dict[str, bool]:
        flags = end.now.issues["T-1001"].flags
        of_type = [flag for flag in flags if flag.type == "missed_handoff"]
        return {
            "one flag of the type is left": len(of_type) == 1,
            "it points at the second request": self.RIGHT.turn in [flag.turn for flag in of_type],
            "its note was kept": all(flag.note == self.RIGHT.note for flag in of_type) and bool(of_type),
            "the other flag is as it was": Mark("call-human", 6, "repeated_question") in flags and len(flags) <= 2,
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        case = await seat.ok("get_evidence", issue_id="T-1001")
        (flag,) = [one for one in case["flags"]["items"] if one["type"] == "missed_handoff"]
        heard = await seat.ok("get_transcript", call_id=flag["call_id"], query="talk to a person")
        turn = heard["transcript"]["turns"][-1]["message_index"]
        await seat.ok("update_flag", issue_id="T-1001", flag_id=flag["id"], message_index=turn)
        return "Corrected."

    async def mistake_of_adding_another(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-human", "message_index": 5}
        await seat.ok("add_flag", issue_id="T-1001", type="missed_handoff", **where)
        return "Added."

    async def mistake_of_correcting_the_other(self, seat: Seat, words: str) -> str:
        flags = (await seat.ok("get_evidence", issue_id="T-1001"))["flags"]["items"]
        (flag,) = [one for one in flags if one["type"] == "repeated_question"]
        await seat.ok("update_flag", issue_id="T-1001", flag_id=flag["id"], message_index=5)
        return "Corrected."
