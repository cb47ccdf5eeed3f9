"""Tasks about moments of calls."""

from __future__ import annotations

from agent.desk_state import Mark
from agent.seat import Follower, Seat
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


class FlagACallNotAttached(Task):
    words = (
        "On T-1001, flag where the agent in call-hours says that we close at nine, as wrong_hours. We close at "
        "half past five."
    )

    async def prepare(self, start: Start) -> None:
        said = (
            "hello",
            "when do you close today",
            "today we close at nine in the evening",
            "oh, great",
            "see you then",
        )
        await start.call("call-hours", *said)
        await start.call("call-hours-2", *said)
        await start.issue("Wrong closing time", calls=("call-hours-2",))

    def grade(self, end: Ending) -> dict[str, bool]:
        issue = end.now.issues["T-1001"]
        flags = [(flag.call_id, flag.turn, flag.type) for flag in issue.flags]
        return {
            "the call is attached beside the other": sorted(issue.calls) == ["call-hours", "call-hours-2"],
            "the sentence is flagged, and nothing else": flags == [("call-hours", 2, "wrong_hours")],
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-hours", "quote": "we close at nine"}
        await Follower(seat).pursue("add_flag", issue_id="T-1001", type="wrong_hours", **where)
        return "Flagged."

    async def mistake_of_taking_the_call_that_is_attached(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-hours-2", "quote": "we close at nine"}
        await seat.ok("add_flag", issue_id="T-1001", type="wrong_hours", **where)
        return "Flagged."


class FlagInAnotherScript(Task):
    words = "In call-ja on T-1001 the caller says 返金してください. Please flag that as refund_request."

    async def prepare(self, start: Start) -> None:
        await start.call(
            "call-ja", "お電話ありがとうございます", "返金の件で電話しました", "ご注文番号をお願いします", "一二三四です",
            "確認いたします", "もう三週間待っています。返金してください。", "返金の手続きをいたします",
        )  # fmt: skip
        await start.issue("Refunds take too long", calls=("call-ja",))

    def grade(self, end: Ending) -> dict[str, bool]:
        flags = end.now.issues["T-1001"].flags
        return {
            "there is one flag": len(flags) == 1,
            "it is of the type": [flag.type for flag in flags] == ["refund_request"],
            "it is where the caller says it": [flag.turn for flag in flags] == [5],
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-ja", "quote": "返金してください"}
        await seat.ok("add_flag", issue_id="T-1001", type="refund_request", **where)
        return "Flagged."

    async def mistake_of_taking_the_first_that_is_alike(self, seat: Seat, words: str) -> str:
        where = {"call_id": "call-ja", "message_index": 1}
        await seat.ok("add_flag", issue_id="T-1001", type="refund_request", **where)
        return "Flagged."


class FlagInALongCall(Task):
    words = (
        "call-long on T-1001 is very long. Somewhere in it the caller says that she will cancel her contract. "
        "Flag that moment as churn_risk."
    )
    TURN = 251

    async def prepare(self, start: Start) -> None:
        said = [f"and then step {n} of the setup did not work either, what is next" for n in range(320)]
        said[31] = "i have had a contract with you since two thousand nineteen"
        said[120] = "you could cancel the update and start it again"
        said[self.TURN] = "if this does not work today i will cancel my contract"
        await start.call("call-long", *said)
        await start.issue("Setup takes hours", calls=("call-long",))

    def grade(self, end: Ending) -> dict[str, bool]:
        flags = end.now.issues["T-1001"].flags
        return {
            "there is one flag": len(flags) == 1,
            "it is of the type": [flag.type for flag in flags] == ["churn_risk"],
            "it is where she says it": [flag.turn for flag in flags] == [self.TURN],
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        heard = await seat.ok("get_transcript", call_id="call-long", query="cancel contract")
        turn = heard["transcript"]["turns"][0]["message_index"]
        await seat.ok("add_flag", issue_id="T-1001", call_id="call-long", type="churn_risk", message_index=turn)
        return "Flagged."

    async def mistake_of_flagging_each_mention(self, seat: Seat, words: str) -> str:
        for word in ("cancel", "contract"):
            heard = await seat.ok("get_transcript", call_id="call-long", query=word)
            where = {"call_id": "call-long", "message_index": heard["transcript"]["turns"][0]["message_index"]}
            await seat.ok("add_flag", issue_id="T-1001", type="churn_risk", **where)
        return "Flagged."


class FlagTwelveCalls(Task):
    words = (
        "In each of the twelve calls on T-1001 the agent says that he will transfer the caller, and then the call ends. "
        "Flag the moment where he says so in every one of them, as dead_transfer."
    )
    TURNS = {f"call-t{n:02}": 2 * (n % 4) + 2 for n in range(1, 13)}
    SAYINGS = (
        "let me transfer you to a colleague",
        "i will transfer you to our billing team",
        "one moment, i transfer you now",
    )

    async def prepare(self, start: Start) -> None:
        for place, (call_id, turn) in enumerate(self.TURNS.items()):
            said = ["hello", "hi", "what can i do for you", "my bill is wrong", "i see", "and", "so", "well", "hm"][
                :turn
            ]
            await start.call(call_id, *said, self.SAYINGS[place % 3])
        await start.issue("Transfers end the call", calls=tuple(self.TURNS))

    def grade(self, end: Ending) -> dict[str, bool]:
        issue = end.now.issues["T-1001"]
        return {
            "each call has one flag": sorted(flag.call_id for flag in issue.flags) == sorted(self.TURNS),
            "each is where he says so": {flag.call_id: flag.turn for flag in issue.flags} == self.TURNS,
            "all are of the type": {flag.type for flag in issue.flags} == {"dead_transfer"},
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "comments"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        rows = await seat.rows("find_calls", query="transfer", speaker="agent")
        found = [{"call_id": row["call_id"], "message_index": row["turns"][0]["message_index"]} for row in rows]
        added = await seat.ok("add_flag", issue_id="T-1001", type="dead_transfer", **found[0], also=found[1:])
        assert added["outcome"] == "committed", added
        return "All twelve are flagged."

    async def mistake_of_taking_the_same_turn_everywhere(self, seat: Seat, words: str) -> str:
        for call_id in self.TURNS:
            where = {"call_id": call_id, "message_index": 2}
            await seat.ok("add_flag", issue_id="T-1001", type="dead_transfer", **where)
        return "Flagged."
