"""How many SQL statements an operation takes, in the desk and in the journal. BEGIN and COMMIT are not among them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import call_line, endpoints_to, load_lines
from sqlalchemy import Engine, event

from calltriage.client.client import Client, open_client
from calltriage.client.in_process import InProcess, background
from calltriage.desk.app import Desk
from calltriage.desk.database import issue_search
from calltriage.journal.journal import Journal
from calltriage.operations.activity import AddComment, ListActivity
from calltriage.operations.attachments import ListAttachments
from calltriage.operations.base import Operation
from calltriage.operations.calls import ListCalls, SearchCalls
from calltriage.operations.categories import ListCategories
from calltriage.operations.conversations import ListSmsConversations
from calltriage.operations.flags import AddFlag, ListFlags, ListFlagTypes
from calltriage.operations.issues import CreateIssue, GetIssue, ListIssues
from calltriage.operations.members import ListOrgMembers
from calltriage.operations.norm import ListTriageAgents
from calltriage.operations.relations import LinkIssue, ListRelations
from calltriage.operations.resource_links import AttachResource, ListResources

CALL = "call-1"


@dataclass
class Counted:
    """A client on a desk, with a journal, and the statements that each of the two ran for one operation."""

    client: Client
    near: Client
    """One on a desk whose dates it relies on, as on the one in its process."""
    issues: tuple[str, str]
    ran: dict[str, int] = field(default_factory=dict[str, int])

    async def of(self, operation: Operation[Any], client: Client | None = None) -> tuple[int, int]:
        self.ran.clear()
        await (client or self.client).send(operation)
        return self.ran.get("desk", 0), self.ran.get("journal", 0)

    def watch(self, name: str, engine: Engine) -> None:
        def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if not statement.startswith(("BEGIN", "SET LOCAL", "SELECT pg_advisory")):
                self.ran[name] = self.ran.get(name, 0) + 1

        event.listen(engine, "before_cursor_execute", count)


@pytest.fixture
async def counted(the_desk: Desk, tmp_path: Path) -> AsyncGenerator[Counted]:
    await load_lines(the_desk, call_line(CALL, "hello"))
    journal = Journal(tmp_path / "journal")
    async with (
        background() as tasks,
        open_client(endpoints_to(InProcess(the_desk, tasks)), ledger=journal) as client,
        open_client(endpoints_to(InProcess(the_desk, tasks), one_clock=True), ledger=journal) as near,
    ):
        made = [await client.send(CreateIssue(title=text, severity="low", category="Bug")) for text in "ab"]
        counted = Counted(client, near, (made[0].id, made[1].id))
        counted.watch("desk", await the_desk.store.open())
        counted.watch("journal", await journal.database.open())
        yield counted
    await journal.close()


async def test_an_attach_takes_six_statements_in_the_desk_and_three_in_the_journal(counted: Counted) -> None:
    here, _ = counted.issues
    attach = AttachResource(issue_id=here, resource_type="call", resource_id=CALL)
    assert await counted.of(attach) == (6, 3)


WRITES: dict[str, tuple[Callable[[str, str], Operation[Any]], int]] = {
    "flag": (lambda here, _: AddFlag(issue_id=here, call_id=CALL, type="tone"), 2 + 5),
    "comment": (lambda here, _: AddComment(issue_id=here, detail="x"), 2 + 3),
    "link": (lambda here, other: LinkIssue(issue_id=here, related_issue_id=other, relation_type="blocks"), 3 + 5),
    "create": (lambda *_: CreateIssue(title="c", severity="low", category="Bug"), 1 + 4),
}
"""Writes that are looked for beforehand: statements of that list and of the write itself."""


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_takes_few_statements(counted: Counted, name: str) -> None:
    here, other = counted.issues
    await counted.client.send(AttachResource(issue_id=here, resource_type="call", resource_id=CALL))
    operation, most = WRITES[name]
    in_desk, in_journal = await counted.of(operation(here, other))
    assert (in_desk <= most, in_journal) == (True, 3), in_desk


async def test_a_link_on_the_desk_in_this_process_is_not_looked_for_beforehand(counted: Counted) -> None:
    here, other = counted.issues
    link = LinkIssue(issue_id=here, related_issue_id=other, relation_type="blocks")
    assert await counted.of(link, counted.near) == (5, 3)


READS: dict[str, Callable[[str], Operation[Any]]] = {
    "issue": lambda here: GetIssue(issue_id=here),
    "issues": lambda _: ListIssues(),
    "resources": lambda here: ListResources(issue_id=here),
    "flags": lambda here: ListFlags(issue_id=here),
    "relations": lambda here: ListRelations(issue_id=here),
    "activity": lambda here: ListActivity(issue_id=here),
    "flag types": lambda _: ListFlagTypes(),
    "categories": lambda _: ListCategories(),
    "calls": lambda _: ListCalls(),
    "found": lambda _: ListIssues(search="hello there"),
    "found by number": lambda _: ListIssues(search="T-1001"),
    "with a call": lambda _: ListIssues(resource_type="call", status=["todo"]),
    "calls found": lambda _: SearchCalls(query="hello there"),
    "messages": lambda _: ListSmsConversations(),
    "attachments": lambda _: ListAttachments(),
    "agents": lambda _: ListTriageAgents(),
}


@pytest.mark.parametrize("name", READS)
async def test_a_list_takes_three_statements_at_most_and_none_in_the_journal(counted: Counted, name: str) -> None:
    here, other = counted.issues
    await counted.client.send(AttachResource(issue_id=here, resource_type="call", resource_id=CALL))
    await counted.client.send(LinkIssue(issue_id=here, related_issue_id=other, relation_type="blocks"))
    for flag_type in ("tone", "policy"):
        await counted.client.send(AddFlag(issue_id=here, call_id=CALL, type=flag_type))
    in_desk, in_journal = await counted.of(READS[name](here))
    assert (in_desk <= 3, in_journal) == (True, 0), in_desk


async def test_a_list_of_members_takes_three_statements_at_most(counted: Counted, the_desk: Desk) -> None:
    in_desk, in_journal = await counted.of(ListOrgMembers(org_id=await the_desk.tenants.organisation(None)))
    assert (in_desk <= 3, in_journal) == (True, 0), in_desk


@pytest.mark.parametrize("limit", [1, 50], ids=["enough of it near", "little of it near"])
async def test_a_search_for_a_common_word_takes_three_statements(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for name in ("NAMED", "FEW"):
        monkeypatch.setattr(issue_search, name, 0)
    search = ListIssues(search="a", limit=limit)
    assert [item.title for item in (await counted.client.send(search)).items] == ["a"]
    assert await counted.of(search) == (3, 0)
