"""Tasks about many issues and the links between them."""

from __future__ import annotations

from agent.seat import Seat
from agent.staging import Ending, Start
from agent.task import Task


class LinkDuplicatesAmongForty(Task):
    words = (
        "T-1003, about callers who are cut off while they are on hold, was filed more than once: somewhere among our forty "
        "issues are three more about that same fault. Find them, and link each of them as a duplicate of T-1003. "
        "Close nothing."
    )
    SAME = {
        9: ("Callers are dropped while they are on hold", "The line goes dead as soon as the hold music starts over."),
        21: ("Line goes dead on hold", "After four minutes of hold music the caller is cut off."),
        34: ("Call ends on its own during hold", "The caller waits on hold, and is cut off before anybody answers."),
    }
    DUPLICATES = frozenset({"T-1009", "T-1021", "T-1034"})
    OTHERS = (
        "Hold music is too loud",
        "Agent talks while the caller is still speaking",
        "Wrong currency is read out",
        "Birth date is asked for twice",
        "Summary is missing after the call",
        "Callers wait long on hold",
        "Spanish callers are answered in English",
        "Appointment lands on the wrong day",
    )

    async def prepare(self, start: Start) -> None:
        for number in range(1, 41):
            if number == 3:
                about = "Whoever waits on hold for some minutes is cut off."
                await start.issue("Callers are cut off while on hold", description=about, category="Telephony")
            elif number in self.SAME:
                title, about = self.SAME[number]
                await start.issue(title, description=about, category="Telephony")
            else:
                title = self.OTHERS[number % len(self.OTHERS)]
                await start.issue(f"{title}, branch {number}", description=f"Seen in branch {number} since Monday.")

    def grade(self, end: Ending) -> dict[str, bool]:
        links = {(ticket, *link) for ticket, issue in end.now.issues.items() for link in issue.links}
        wanted = {(ticket, "duplicate_of", "T-1003") for ticket in self.DUPLICATES}
        return {
            "the three are linked as duplicates of it": wanted <= links,
            "nothing else is linked": links <= wanted,
            "nothing was closed": all(end.kept(ticket, "status") for ticket in end.before.issues),
            "nothing else changed": end.is_untouched(*self.DUPLICATES)
            and all(end.kept(ticket, "title", "comments", "calls", "severity") for ticket in self.DUPLICATES),
        }

    async def script(self, seat: Seat, words: str) -> str:
        rows = [row for row in await seat.rows("list_issues", search="hold") if row["triage_id"] != "T-1003"]
        same = [row for row in rows if row["category"] == "Telephony"]
        for row in same:
            about = {"issue_id": row["triage_id"], "related_issue_id": "T-1003"}
            await seat.ok("link_issue", **about, relation_type="duplicate_of")
        return f"{len(same)} duplicates are linked."

    async def mistake_of_turning_the_links_round(self, seat: Seat, words: str) -> str:
        ends = sorted(self.DUPLICATES)
        await seat.ok("link_issue", issue_id="T-1003", related_issue_ids=ends, relation_type="related_to")
        return "Linked."


class BlockSeveral(Task):
    words = "T-1002, T-1003 and T-1005 cannot be mended before T-1001 is. Please record that on the issues."

    async def prepare(self, start: Start) -> None:
        for title in ("Numbers are misheard", "Wrong account", "Wrong amount", "Rude greeting", "Wrong date"):
            await start.issue(title)

    def grade(self, end: Ending) -> dict[str, bool]:
        blocked = {("blocks", ticket) for ticket in ("T-1002", "T-1003", "T-1005")}
        links = set(end.now.issues["T-1001"].links)
        return {
            "T-1001 blocks each of the three": blocked <= links,
            "it has no other link": links <= blocked,
            "no link goes the other way": end.is_untouched("T-1001"),
            "nothing else changed": end.kept("T-1001", "title", "status", "comments", "description"),
        }

    async def script(self, seat: Seat, words: str) -> str:
        others = ["T-1002", "T-1003", "T-1005"]
        await seat.ok("link_issue", issue_id="T-1001", related_issue_ids=others, relation_type="blocks")
        return "Recorded."

    async def mistake_of_relating_them_the_other_way(self, seat: Seat, words: str) -> str:
        for ticket in ("T-1002", "T-1003", "T-1005"):
            await seat.ok("link_issue", issue_id=ticket, related_issue_id="T-1001", relation_type="blocks")
        await seat.ok("link_issue", issue_id="T-1001", related_issue_id="T-1004", relation_type="blocks")
        return "Recorded."


class AssignThroughManyPages(Task):
    words = (
        "Some of our issues in the category Latency have nobody assigned to them. Assign every one of these to ada. "
        "Leave those alone that somebody works on already, and those of other categories."
    )
    FREE = frozenset({"T-1007", "T-1023", "T-1058", "T-1071"})

    async def prepare(self, start: Start) -> None:
        await start.member("ada")
        await start.member("ben")
        for number in range(1, 76):
            title = f"Answer comes late in scenario {number}"
            if f"T-{1000 + number}" in self.FREE:
                await start.issue(title, category="Latency")
            elif number % 10 == 0:
                await start.issue(title, category="Speech")
            else:
                await start.issue(title, category="Latency", assignee_id="ben")

    def grade(self, end: Ending) -> dict[str, bool]:
        return {
            "each of the four is ada's": all(end.now.issues[one].assignee_id == "ada" for one in self.FREE),
            "all others are as they were": end.is_untouched(*self.FREE),
            "of the four nothing else changed": all(end.kept(one, "title", "status", "comments") for one in self.FREE),
        }

    async def script(self, seat: Seat, words: str) -> str:
        rows = await seat.rows("list_issues", category=["Latency"], limit=100)
        free = [row["triage_id"] for row in rows if row.get("assignee_id") is None]
        for ticket in free:
            await seat.ok("update_issue", issue_id=ticket, assignee_id="ada")
        return f"{len(free)} issues are ada's now."

    async def mistake_of_stopping_at_the_first_page(self, seat: Seat, words: str) -> str:
        page = await seat.ok("list_issues", category=["Latency"])
        for row in page["items"]:
            if row.get("assignee_id") is None:
                await seat.ok("update_issue", issue_id=row["triage_id"], assignee_id="ada")
        return "Done."
