"""Tasks that file issues and store reports."""

from __future__ import annotations

from agent.seat import Seat
from agent.staging import Ending, Start
from agent.task import Task


class FileAWholeCase(Task):
    words = (
        "In call-refund our agent promises a refund of fifty dollars, though fifteen is his limit. File it as an issue: "
        "title 'Agent promises a refund above his limit', severity critical, category Dialogue. Attach the call, and flag "
        "the sentence with the promise as refund_over_limit."
    )
    NEW = {"title": "Agent promises a refund above his limit", "severity": "critical", "category": "Dialogue"}

    async def prepare(self, start: Start) -> None:
        await start.call(
            "call-refund", "hello, what can i do for you", "my order came broken", "i am sorry to hear that",
            "i want my fifty dollars back", "let me see what i can do", "please do",
            "good news, i can refund you the whole fifty dollars today", "great, thank you",
        )  # fmt: skip

    def grade(self, end: Ending) -> dict[str, bool]:
        filed = end.now.issues[end.new[0]] if len(end.new) == 1 else None
        told = filed and {"title": filed.title, "severity": filed.severity, "category": filed.category}
        flags = [(flag.call_id, flag.turn, flag.type) for flag in filed.flags] if filed else []
        return {
            "one issue was filed": filed is not None,
            "its title, severity and category are those asked for": told == self.NEW,
            "the call is attached": filed is not None and "call-refund" in filed.calls,
            "the promise is flagged, and nothing else": flags == [("call-refund", 6, "refund_over_limit")],
            "no file was stored": not end.now.files,
        }

    async def script(self, seat: Seat, words: str) -> str:
        link = {"resource_type": "call", "resource_id": "call-refund"}
        flag = {
            "call_id": "call-refund",
            "type": "refund_over_limit",
            "quote": "i can refund you the whole fifty dollars",
        }
        filed = await seat.ok("create_issue", **self.NEW, resource_links=[link], flags=[flag])
        return f"Filed as {filed['triage_id']}."

    async def mistake_of_flagging_the_wish(self, seat: Seat, words: str) -> str:
        link = {"resource_type": "call", "resource_id": "call-refund"}
        flag = {"call_id": "call-refund", "type": "refund_over_limit", "message_index": 3}
        await seat.ok("create_issue", **self.NEW, resource_links=[link], flags=[flag])
        return "Filed."


class FileUnlessKnown(Task):
    words = (
        "In call-card the agent promised a new debit card, but the replacement was never ordered. If we have an issue about "
        "that fault already, attach the call to it and change nothing else. If not, file one with severity high under Tools."
    )

    async def prepare(self, start: Start) -> None:
        said = ("hello", "i lost my debit card", "i am sending you a new one", "thank you")
        await start.call("call-card", *said)
        await start.call("call-card-0", *said)
        await start.issue("Debit card is blocked though nobody asked for it", category="Tools")
        about = "The agent says that a new card is on its way, but no order reaches the card system."
        ticket = await start.issue(
            "Replacement of a debit card is never ordered", description=about, category="Tools", calls=("call-card-0",)
        )
        await start.update(ticket, status="in_progress")

    def grade(self, end: Ending) -> dict[str, bool]:
        known = end.now.issues["T-1002"]
        return {
            "no issue was filed": end.new == (),
            "the call is on the one that was there": "call-card" in known.calls,
            "that one is else as it was": end.kept("T-1002", "title", "status", "severity", "category", "comments"),
            "nothing else changed": end.is_untouched("T-1002", *end.new),
        }

    async def script(self, seat: Seat, words: str) -> str:
        title = "The debit card replacement was never ordered"
        tried = await seat.ok("create_issue", title=title, severity="high", category="Tools")
        assert tried["outcome"] == "not_committed", tried
        ticket = tried["similar"]["items"][0]["triage_id"]
        await seat.ok("attach_resource", issue_id=ticket, resource_type="call", resource_id="call-card")
        return f"That is {ticket} already; the call is attached to it."

    async def mistake_of_filing_it_again(self, seat: Seat, words: str) -> str:
        new = {"title": "Replacement of a debit card is never ordered", "severity": "high", "category": "Tools"}
        link = {"resource_type": "call", "resource_id": "call-card"}
        await seat.ok("create_issue", **new, resource_links=[link], on_duplicate="create")
        return "Filed."


class AttachAReport(Task):
    words = (
        "Write a short report about T-1001 for our supplier, in plain text: the issue's title, the id of the call, and word "
        "for word what the agent says in the moment that is flagged. Store it as t-1001-report.md and hang it on T-1001."
    )
    SAID = "your new card is on its way to your old address"
    TITLE = "Cards are sent to an address that is out of date"

    async def prepare(self, start: Start) -> None:
        await start.call("call-old", "hello", "i moved house last month", "i see", "so where is my card", self.SAID)
        ticket = await start.issue(self.TITLE, calls=("call-old",))
        await start.flag(ticket, "call-old", 4, "stale_address")

    def grade(self, end: Ending) -> dict[str, bool]:
        issue, stored = end.now.issues["T-1001"], end.now.files.get("t-1001-report.md")
        text = stored.text.casefold() if stored else ""
        return {
            "the report is stored under its name, alone": set(end.now.files) == {"t-1001-report.md"},
            "it is evidence of the issue": stored is not None and [*issue.files] == [stored.id],
            "it has title and call": self.TITLE.casefold() in text and "call-old" in text,
            "it has the words of the moment": self.SAID in text,
            "nothing else changed": end.new == () and end.kept("T-1001", "title", "status", "calls", "flags"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        case = await seat.ok("get_evidence", issue_id="T-1001")
        (flag,) = case["flags"]["items"]
        (said,) = [turn["text"] for turn in flag["turns"] if turn["message_index"] == flag["message_index"]]
        report = f"# {case['issue']['title']}\n\nCall {flag['call_id']}: “{said}”\n"
        await seat.ok("create_attachment", name="t-1001-report.md", text=report, attach_to="T-1001")
        return "The report hangs on T-1001."

    async def mistake_of_forgetting_the_issue(self, seat: Seat, words: str) -> str:
        await seat.ok("create_attachment", name="t-1001-report.md", text="Cards are sent to a wrong address.")
        return "Stored."


class SumUpTheEvidence(Task):
    words = (
        "Sum up for the team what T-1001 rests on, as one comment on it: name each attached call by its id, and say for "
        "each one which types of flags it has."
    )
    CASE = {"call-a": ["missed_handoff", "rude_tone"], "call-b": ["missed_handoff"], "call-c": ["long_silence"]}

    async def prepare(self, start: Start) -> None:
        for call_id in self.CASE:
            await start.call(call_id, "hello", "can i talk to a person", "no", "why not", "because", "hello?")
        await start.call("call-d", "hello", "hi")
        ticket = await start.issue("Callers get nowhere", calls=tuple(self.CASE))
        for call_id, types in self.CASE.items():
            for turn, flag_type in enumerate(types, 2):
                await start.flag(ticket, call_id, turn, flag_type)
        await start.comment(ticket, "Who looks into this?")

    def grade(self, end: Ending) -> dict[str, bool]:
        comments = end.now.issues["T-1001"].comments
        text = comments[-1] if len(comments) == 2 else ""
        return {
            "there is one comment more": len(comments) == 2 and comments[0] == "Who looks into this?",
            "it names each attached call, and no other": all(one in text for one in self.CASE) and "call-d" not in text,
            "it names each type of flag": all(one in text for types in self.CASE.values() for one in types),
            "nothing else changed": end.is_untouched("T-1001") and end.kept("T-1001", "status", "calls", "flags"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        case = await seat.ok("get_evidence", issue_id="T-1001")
        types: dict[str, list[str]] = {row["resource_id"]: [] for row in case["resources"]["items"]}
        for flag in case["flags"]["items"]:
            types[flag["call_id"]].append(flag["type"])
        lines = [f"{call_id}: {', '.join(found)}" for call_id, found in types.items()]
        await seat.ok("add_comment", issue_id="T-1001", detail="\n".join(lines))
        return "The comment is there."

    async def mistake_of_naming_calls_alone(self, seat: Seat, words: str) -> str:
        await seat.ok("add_comment", issue_id="T-1001", detail="call-a, call-b, call-c and call-d are attached.")
        return "The comment is there."
