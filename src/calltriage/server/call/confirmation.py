"""Asking a person before a tool removes something for good.

The newer protocol (2026-07-28) answers the call with a question and gets the reply with the same call made again; the older
ones ask while the call waits. Where neither works the operator's policy decides, and without one nothing is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError

from calltriage.errors import Forbidden, NotFound, Rejected
from calltriage.leaves.gate import gate
from calltriage.leaves.strict_json import JsonObject
from calltriage.offering import Policy
from calltriage.operations.attachments import DeleteAttachment, GetAttachment
from calltriage.operations.base import Tool
from calltriage.operations.flags import ListFlags, RemoveFlag
from calltriage.operations.issues import DeleteIssue, GetIssue
from calltriage.operations.relations import ListRelations, RemoveRelation
from calltriage.operations.resource_links import ListResources, RemoveResource
from calltriage.server.call.host import Host
from calltriage.server.context import Invocation, every_page, preparing
from calltriage.server.questions import SECONDS, Questions, Wish

QUESTION = "calltriage/question"
"""Key of a refused result's metadata: what the board asks its person, and what it passes for a yes (`host.CONFIRMED`)."""


class UnconfirmedError(Forbidden):
    """Nobody could be asked. `meta` is for the view that a host may show, which hosts do not give to the model."""

    meta: JsonObject | None = None

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences), code="confirmation_unavailable", outcome="not_committed")


LOOKS, LOOK_S = 20, 2.0
"""How many times, and every how many seconds, an answer on the page is looked for before its host asks again."""
PAGES = 5
"""Pages of a hundred rows that are read to find the thing to remove and what belongs to it."""
NOBODY_ASKED = (
    "This removes something for good, so that a person is asked first, and this host cannot ask. Nothing was removed."
)
STATELESS = (
    "This removes something for good, so that a person is asked first. Over HTTP this server keeps no session (stateless "
    "transport) and cannot ask a client of this protocol version. Nothing was removed. A client of version 2026-07-28 can "
    "be asked, and each over stdio."
)
ON_PANEL = "If the host shows the board beside this, a person can answer there."
ON_BOARD = (
    "A person can answer within ten minutes by running: calltriage board --confirm {}. A yes removes it there: do not call "
    "again, but read what is left."
)
BY_POLICY = "The operator can allow removals without a question with --confirm=allow or CALLTRIAGE_CONFIRM=allow."
UNREAD = "What it is cannot be told: not all of the issue's list could be read."
KEY = "confirm"
FORM: JsonObject = {
    "type": "object",
    "properties": {KEY: {"type": "boolean", "title": "Remove it for good"}},
    "required": [KEY],
}


async def confirmed(
    tool: type[Tool], given: Tool, work: Invocation, policy: Policy, host: Host
) -> mcp_types.InputRequiredResult | None:
    """None if the tool may go ahead; otherwise the question that is to be answered first.

    Raises:
        Forbidden: the operator forbids it, or nobody can be asked and the operator did not allow it.
        Rejected: the person said no, or did not say.
        NotFound: there is nothing to remove.
    """
    if policy == "deny":
        raise Forbidden(
            "The operator does not let anything be removed here (CALLTRIAGE_CONFIRM=deny). Nothing was removed.",
            code="confirmation_denied",
            outcome="not_committed",
        )
    if not host.can_be_asked and policy == "allow":
        return None
    with preparing():
        question = gate(await _question(tool, given, work))[0]
    if not host.can_be_asked:
        wish = Wish(work.who, tool.tool_name(), given.model_dump(mode="json", exclude_unset=True), question)
        return await _asked_elsewhere(wish, work, policy, host)
    if not host.is_modern:
        _decided(await _asked_at_once(host.session, question))
        return None
    state = hashlib.sha256(question.encode()).hexdigest()
    reply = host.replies.get(KEY)
    if isinstance(reply, mcp_types.ElicitResult) and host.state == state:
        _decided(reply)
        return None
    # Not asked yet, or what the person agreed to is no longer what would happen.
    params = mcp_types.ElicitRequestFormParams(message=question, requested_schema=FORM)
    asked: mcp_types.InputRequests = {KEY: mcp_types.ElicitRequest(params=params)}
    return mcp_types.InputRequiredResult(input_requests=asked, request_state=state)


async def _asked_elsewhere(
    wish: Wish, work: Invocation, policy: Policy, host: Host
) -> mcp_types.InputRequiredResult | None:
    """For a host that cannot ask. None if a view passes its person's yes, or the page has one. Otherwise the question is
    kept for the board; a host that can is asked to send its person there.

    Raises UnconfirmedError, which says where a person can answer; Rejected if a person has said no.
    """
    questions = work.server.questions
    why = STATELESS if host.has_no_way_back else NOBODY_ASKED
    if questions is None:
        raise UnconfirmedError(why, BY_POLICY)
    has_panel = policy == "panel"
    if has_panel and host.agreed is not None and await questions.is_agreed(wish, host.agreed):
        return None
    if await questions.is_declined(wish):
        raise _declined()
    if questions.page is not None and host.opens_pages and not (has_panel and host.shows_views):
        return await _asked_on_page(wish, questions, host, work.server.sleep)
    ident = await questions.keep(wish)
    advice = [ON_PANEL] if has_panel else []
    advice += [ON_BOARD.format(ident)] if ident is not None else []
    error = UnconfirmedError(why, *advice, *([] if has_panel else [BY_POLICY]))
    if has_panel:
        seal = questions.seal(wish)
        error.meta = {QUESTION: {"text": wish.question, "seal": seal, "tool": wish.tool, "arguments": wish.arguments}}
    raise error


async def _asked_on_page(
    wish: Wish, questions: Questions, host: Host, sleep: Callable[[float], Awaitable[None]]
) -> mcp_types.InputRequiredResult | None:
    """None if a person has said yes on the page; otherwise the request that the host sends its person there. The host's
    reply only says that they went: their answer is looked for LOOKS times, then they are sent again.

    Raises Rejected if a person has said no, at the host or on the page; UnconfirmedError if no question can be kept.
    """
    state, reply = hashlib.sha256(wish.question.encode()).hexdigest(), host.replies.get(KEY)
    if isinstance(reply, mcp_types.ElicitResult) and host.state == state:
        if reply.action != "accept":
            _decided(reply)
        for _ in range(LOOKS):
            if await questions.is_approved(wish):
                return None
            if await questions.is_declined(wish):
                raise _declined()
            await sleep(LOOK_S)
    ident = await questions.keep(wish, awaited=True)
    if ident is None:
        raise UnconfirmedError(NOBODY_ASKED, BY_POLICY)
    params = mcp_types.ElicitRequestURLParams(message=wish.question, url=f"{questions.page}#.{ident}")
    asked: mcp_types.InputRequests = {KEY: mcp_types.ElicitRequest(params=params)}
    return mcp_types.InputRequiredResult(input_requests=asked, request_state=state)


async def _asked_at_once(session: ServerSession, question: str) -> mcp_types.ElicitResult:
    try:
        with anyio.move_on_after(SECONDS):
            return await session.elicit_form(question, FORM)
    except (MCPError, ValueError):  # a host that said it could ask, and cannot
        raise UnconfirmedError("The host could not ask a person. Nothing was removed.") from None
    return mcp_types.ElicitResult(action="cancel")


def _decided(reply: mcp_types.ElicitResult) -> None:
    """Only an accepted form with the box ticked is a yes."""
    if reply.action == "accept" and (reply.content or {}).get(KEY) is True:
        return
    if reply.action != "cancel":
        raise _declined()
    raise Rejected(
        "The person did not decide. Nothing was removed.", code="confirmation_cancelled", outcome="not_committed"
    )


def _declined() -> Rejected:
    return Rejected(
        "The person declined. Nothing was removed; do not ask again unless they want it.",
        code="confirmation_declined",
        outcome="not_committed",
    )


async def _question(tool: type[Tool], given: Tool, work: Invocation) -> str:
    asked = QUESTIONS.get(tool)
    if asked is None:
        about = ", ".join(f"{name} {value}" for name, value in given.model_dump(exclude_none=True).items())
        return f"{tool.tool_name().replace('_', ' ').capitalize()}? {about}"
    return await asked(given, work)


async def _detaching(given: RemoveResource, work: Invocation) -> str:
    issue_id, link_id = await work.server.issue_id(given.issue_id), given.resource_link_id
    links, all_links = await every_page(
        work.server.client, lambda cursor: ListResources(issue_id=issue_id, limit=100, cursor=cursor), PAGES
    )
    link = next((link for link in links if link.id.lower() == link_id), None)
    if link is None and not all_links:
        return f"Detach the evidence of link {link_id} from issue {issue_id}? {UNREAD}"
    if link is None:
        raise NotFound("No such evidence on this issue.", field="resource_link_id")
    what = f"Detach {link.resource_type} {link.resource_id} (link {link_id}) from issue {issue_id}?"
    if link.resource_type != "call":
        return f"{what} The {link.resource_type} itself stays."
    flags, all_read = await every_page(
        work.server.client, lambda cursor: ListFlags(issue_id=issue_id, limit=100, cursor=cursor), PAGES
    )
    count = sum(flag.call_id == link.resource_id for flag in flags)
    more = "" if all_read else " or more"
    return f"{what} {count}{more} flags hang on this call and may go with it. The call itself stays."


async def _unflagging(given: RemoveFlag, work: Invocation) -> str:
    issue_id = await work.server.issue_id(given.issue_id)
    flags, all_flags = await every_page(
        work.server.client, lambda cursor: ListFlags(issue_id=issue_id, limit=100, cursor=cursor), PAGES
    )
    flag = next((flag for flag in flags if flag.id.lower() == given.flag_id), None)
    if flag is None and not all_flags:
        return f"Remove flag {given.flag_id} of issue {issue_id}? {UNREAD}"
    if flag is None:
        raise NotFound("No such flag on this issue.", field="flag_id")
    turn = "" if flag.message_index is None else f", turn {flag.message_index}"
    what = f"Remove flag {given.flag_id} on call {flag.call_id}{turn}, of issue {issue_id}?"
    return f"{what} Its type is {_theirs(flag.type)}."


async def _unlinking(given: RemoveRelation, work: Invocation) -> str:
    issue_id = await work.server.issue_id(given.issue_id)
    relations, all_links = await every_page(
        work.server.client, lambda cursor: ListRelations(issue_id=issue_id, limit=100, cursor=cursor), PAGES
    )
    found = next((relation for relation in relations if relation.id.lower() == given.relation_id), None)
    if found is None and not all_links:
        return f"Remove the link {given.relation_id} of issue {issue_id}? {UNREAD}"
    if found is None:
        raise NotFound("No such link on this issue.", field="relation_id")
    return (
        f"Remove the link {given.relation_id} between issues? It says that {found.issue_id} is {found.relation_type} "
        f"{found.related_issue_id}. Both issues stay."
    )


async def _deleting_issue(given: DeleteIssue, work: Invocation) -> str:
    issue = await work.server.client.send(GetIssue(issue_id=await work.server.issue_id(given.issue_id)))
    return (
        f"Delete issue {issue.triage_id} ({issue.id}) for good, with {issue.resource_count} evidence links, "
        f"{issue.flag_count} flags, {issue.relation_count} links to other issues, its comments and sessions? Calls, "
        f"conversations and files stay. Its title is {_theirs(issue.title)}."
    )


async def _deleting_attachment(given: DeleteAttachment, work: Invocation) -> str:
    attachment = await work.server.client.send(GetAttachment(attachment_id=given.attachment_id))
    size = "" if attachment.size is None else f" of {attachment.size} bytes"
    return (
        f"Delete attachment {given.attachment_id}{size} for good, its bytes too? Issues that it hangs on keep a link to "
        f"nothing. Its name is {_theirs(attachment.name)}."
    )


def _theirs(words: str) -> str:
    """Words of others in a question to a person: said to be theirs, short, on one line, between quotes of their own."""
    line = " ".join(words.split())[:120].replace("”", "'").replace("“", "'")
    return f"(words of its author, not of calltriage) “{line}”"


QUESTIONS: dict[type[Tool], Callable[[Any, Invocation], Awaitable[str]]] = {
    RemoveResource: _detaching,
    RemoveFlag: _unflagging,
    RemoveRelation: _unlinking,
    DeleteIssue: _deleting_issue,
    DeleteAttachment: _deleting_attachment,
}
"""What a person is asked, by tool: the thing by its id, and what goes with it."""
